from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.net.deadline import Deadlines


class DeadlinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.expired: list[str] = []
        self.deadlines = Deadlines(self.clock, 30, self.expired.append)

    def test_expires(self):
        """Each expires at its own time, not before, and once."""
        self.deadlines.begin("a")
        self.clock.advance(10)
        self.deadlines.begin("b")
        for seconds, expired in ((19.9, []), (0.1, ["a"]), (9.9, ["a"]), (0.1, ["a", "b"]), (99, ["a", "b"])):
            self.clock.advance(seconds)
            self.assertEqual(self.expired, expired)

    def test_end(self):
        """What has ended does not expire; whether it was in time is told."""
        self.deadlines.begin("a")
        self.deadlines.begin("b")
        self.assertTrue(self.deadlines.end("a"))
        self.clock.advance(30)
        self.assertEqual(self.expired, ["b"])
        self.assertFalse(self.deadlines.end("b"))

    def test_renew(self):
        """What moved has its whole time again; what is not watched stays so."""
        self.deadlines.begin("a")
        self.clock.advance(29)
        self.deadlines.renew("a")
        self.deadlines.renew("b")
        self.clock.advance(29.9)
        self.assertEqual(self.expired, [])
        self.clock.advance(0.1)
        self.assertEqual(self.expired, ["a"])

    def test_begun_while_another_expires(self):
        """What begins when another one expires is watched, too."""
        again = Deadlines(self.clock, 30, lambda n: again.begin(n + 1) or self.expired.append(n))
        again.begin(0)
        self.clock.pump([30, 30, 30])
        self.assertEqual(self.expired, [0, 1, 2])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_one_timer(self):
        """However many are watched, there is one delayed call; after ``stop`` none, if none is watched."""
        for n in range(100):
            self.deadlines.begin(str(n))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.deadlines.stop()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for n in range(100):
            self.deadlines.end(str(n))
        self.deadlines.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
