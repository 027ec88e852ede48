"""What one worker notes in the memory that all share, the others see."""

import os

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.policy.checkers.chain import CheckerChain
from smtprelay.policy.checkers.users import Users
from smtprelay.policy.login_throttle import LoginThrottle
from smtprelay.service.workers.neighbours import Neighbours
from smtprelay.service.workers.shared import NOTICE, Shared, new_memory


class SharedCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.number = new_memory(3)
        self.addCleanup(os.close, self.number)

    def worker(self, number: int) -> Shared:
        """Return the memory as a worker has it."""
        return Shared(self.number, number)


class MemoryTests(SharedCase):
    def test_what_all_know(self) -> None:
        """How many they are, and a key that is theirs alone."""
        self.assertEqual([self.worker(n).workers for n in (0, 1, 3)], [3, 3, 3])
        self.assertEqual(self.worker(1).key, self.worker(2).key)
        self.assertNotEqual(self.worker(1).key, bytes(32))

    def test_notices(self) -> None:
        """Each hears once what others told, in their order, and not what it told itself."""
        one, two = self.worker(1), self.worker(2)
        notices = [b"%d" % n * NOTICE for n in range(3)]
        for notice in notices:
            one.tell(notice)
        self.assertEqual(list(two.heard()), notices)
        self.assertEqual(list(two.heard()), [])
        self.assertEqual(list(one.heard()), [])

    def test_many_notices(self) -> None:
        """Of more than are kept, the last ones are heard."""
        one, two = self.worker(1), self.worker(2)
        for number in range(5000):
            one.tell(b"%024d" % number)
        heard = list(two.heard())
        self.assertEqual((len(heard), heard[-1]), (2048, b"%024d" % 4999))

    def test_a_worker_that_begins(self) -> None:
        """It hears what was told before, by the one before it, too."""
        self.worker(1).tell(b"x" * NOTICE)
        self.assertEqual(list(self.worker(1).heard()), [b"x" * NOTICE])


class ConnectionsTests(SharedCase):
    def setUp(self) -> None:
        super().setUp()
        self.one, self.two, self.three = (
            Neighbours.of(self.worker(number)).elsewhere("lan") for number in (1, 2, 3)
        )

    def test_counts(self) -> None:
        """Each sees what all others have, from one client and from all; its own it knows itself."""
        for worker, address in ((self.one, "a"), (self.one, "a"), (self.two, "a"), (self.two, "b")):
            worker.note(address, 1)
        seen = [
            (each.count("a"), each.count("b"), each.count("")) for each in (self.one, self.two, self.three)
        ]
        self.assertEqual(seen, [(1, 1, 2), (2, 0, 2), (3, 1, 4)])
        self.one.note("a", -1)
        self.assertEqual((self.three.count("a"), self.three.count("")), (2, 3))

    def test_other_listeners(self) -> None:
        """Each listener has limits of its own."""
        self.one.note("a", 1)
        other = Neighbours.of(self.worker(2)).elsewhere("wan")
        self.assertEqual((other.count("a"), other.count("")), (0, 0))

    def test_many_clients(self) -> None:
        """A client is hardly ever taken for another one, among a thousand others."""
        for number in range(1000):
            self.one.note(f"192.0.2.{number}", 1)
        wrong = [n for n in range(10_000) if self.two.count(f"198.51.100.{n}")]
        self.assertLess(len(wrong), 50)
        self.assertEqual(self.two.count(""), 1000)

    def test_a_worker_that_died(self) -> None:
        """Its connections are gone with it, and those of others are not."""
        self.one.note("a", 1)
        self.two.note("a", 1)
        self.worker(0).forget(1)
        self.assertEqual((self.three.count("a"), self.three.count("")), (1, 1))


class FailuresTests(SharedCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()

    def test_guesses_at_all_workers(self) -> None:
        """Whoever guesses waits as long as if there were one worker, at those who saw none of it, too."""
        chains = [self.chain(number) for number in (1, 2, 3)]
        waits = []
        for number in range(9):
            began = self.clock.seconds()
            guessing = chains[number % 3].requestAvatarId(UsernamePassword(b"ann", b"%d" % number))
            while not guessing.called:
                self.clock.advance(0.5)
            self.failureResultOf(guessing, UnauthorizedLogin)
            waits.append(self.clock.seconds() - began)
        self.assertEqual(waits, [0, 0, 0, 1, 2, 4, 8, 15, 15])
        late = self.chain(3).requestAvatarId(UsernamePassword(b"ann", b"late"))
        self.clock.advance(14)
        self.assertNoResult(late)
        self.clock.advance(1)
        self.failureResultOf(late, UnauthorizedLogin)

    def test_one_wrong_password_at_all_workers(self) -> None:
        """Repeating it is one guess, wherever it is."""
        chains = [self.chain(number) for number in (1, 2, 3)]
        for number in range(30):
            guess = UsernamePassword(b"ann", b"the same")
            self.failureResultOf(chains[number % 3].requestAvatarId(guess), UnauthorizedLogin)

    def chain(self, number: int) -> CheckerChain:
        """Return the checkers of a worker, which know nobody."""
        neighbours = Neighbours.of(self.worker(number))
        throttle = LoginThrottle(self.clock, key=neighbours.key, others=neighbours.failures)
        return CheckerChain([Users([], maybeDeferred, self.clock)], throttle)
