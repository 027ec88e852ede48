"""How long guessers wait."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.policy import penalty
from smtprelay.policy.penalty import Penalties

CLIENT, USER = ("client", "192.0.2.7"), ("user", "ann")


class PenaltiesTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.penalties = Penalties(self.clock)

    def test_waits_grow_to_a_bound(self):
        """The first failures are free, then each guess doubles the wait, up to the longest."""
        waits = []
        for n in range(9):
            waits.append(self.penalties.wait([CLIENT]))
            self.penalties.failed([CLIENT], b"%d" % n)
        self.assertEqual(waits, [0, 0, 0, 1, 2, 4, 8, 15, 15])

    def test_many_failures_are_no_overflow(self):
        """After thousands of guesses the wait still is the longest."""
        for n in range(3000):
            self.penalties.failed([CLIENT], b"%d" % n)
        self.assertEqual(self.penalties.wait([CLIENT]), penalty.LONGEST)

    def test_client_and_user_count_apart(self):
        """A user who is guessed at from elsewhere waits, a client that guessed at others waits."""
        for n in range(5):
            self.penalties.failed([CLIENT, USER], b"%d" % n)
        self.assertEqual(self.penalties.wait([("client", "198.51.100.1"), USER]), 4)
        self.assertEqual(self.penalties.wait([CLIENT, ("user", "bob")]), 4)
        self.assertEqual(self.penalties.wait([("client", "198.51.100.1"), ("user", "bob")]), 0)

    def test_one_wrong_password_again_and_again(self):
        """Repeating the same wrong password is one guess."""
        for _ in range(100):
            self.penalties.failed([CLIENT], b"the same")
        self.assertEqual(self.penalties.wait([CLIENT]), 0)

    def test_quiet_forgives(self):
        """Some time after the last failure all is forgotten."""
        for n in range(5):
            self.penalties.failed([CLIENT], b"%d" % n)
        self.clock.advance(penalty.MEMORY)
        self.assertEqual(self.penalties.wait([CLIENT]), 4)
        self.clock.advance(1)
        self.assertEqual(self.penalties.wait([CLIENT]), 0)

    def test_memory_is_bounded(self):
        """However many clients fail, only the last ones are remembered."""
        for n in range(5):
            self.penalties.failed([CLIENT], b"%d" % n)
        for n in range(penalty.REMEMBERED):
            self.penalties.failed([("client", str(n))], b"x")
        self.assertEqual(len(self.penalties._failures), penalty.REMEMBERED)
        self.assertEqual(self.penalties.wait([CLIENT]), 0)
