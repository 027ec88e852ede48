"""What one worker notes in the memory that all share, the others see."""

import os

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.net.worker_memory import WorkerMemory, new_memory
from smtprelay.policy.checkers.chain import CheckerChain
from smtprelay.policy.checkers.users import Users
from smtprelay.policy.login_throttle import LoginThrottle


class MemoryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.number = new_memory(3)
        self.addCleanup(os.close, self.number)

    def worker(self, number: int) -> WorkerMemory:
        """Return the memory as a worker has it."""
        return WorkerMemory(self.number, number)


class MemoryTests(MemoryCase):
    def test_what_all_know(self) -> None:
        """How many they are, and a key that is theirs alone."""
        self.assertEqual([self.worker(n).workers for n in (0, 1, 3)], [3, 3, 3])
        self.assertEqual(self.worker(1).key, self.worker(2).key)
        self.assertNotEqual(self.worker(1).key, bytes(32))

    def test_logins(self) -> None:
        """Each hears once what others told, in their order, and not what it told itself."""
        one, two = self.worker(1), self.worker(2)
        logins = [(b"%08d" % n, b"%08d" % -n, float(n)) for n in range(3)]
        for login in logins:
            one.tell(*login)
        self.assertEqual(list(two.received()), logins)
        self.assertEqual(list(two.received()), [])
        self.assertEqual(list(one.received()), [])

    def test_many_logins(self) -> None:
        """Of more than are kept, the last ones are heard."""
        one, two = self.worker(1), self.worker(2)
        for number in range(5000):
            one.tell(bytes(8), bytes(8), number)
        heard = list(two.received())
        self.assertEqual((len(heard), heard[-1]), (2048, (bytes(8), bytes(8), 4999.0)))

    def test_a_worker_that_begins(self) -> None:
        """It hears what was told before, by the one before it, too."""
        self.worker(1).tell(b"key xxxx", b"guess xx", 5.0)
        self.assertEqual(list(self.worker(1).received()), [(b"key xxxx", b"guess xx", 5.0)])


class ConnectionsTests(MemoryCase):
    def setUp(self) -> None:
        super().setUp()
        self.one, self.two, self.three = map(self.worker, (1, 2, 3))

    def test_counts(self) -> None:
        """Each sees what all others have, from one client and from all; its own it knows itself."""
        for worker, address in ((self.one, "a"), (self.one, "a"), (self.two, "a"), (self.two, "b")):
            worker.count("lan", address, 1)
        seen = [
            tuple(each.elsewhere("lan", address) for address in ("a", "b", ""))
            for each in (self.one, self.two, self.three)
        ]
        self.assertEqual(seen, [(1, 1, 2), (2, 0, 2), (3, 1, 4)])
        self.one.count("lan", "a", -1)
        self.assertEqual((self.three.elsewhere("lan", "a"), self.three.elsewhere("lan")), (2, 3))

    def test_ahead(self) -> None:
        """Who has more than the others on average is ahead; nobody is while all have as many."""
        workers = (self.one, self.two, self.three)
        self.assertEqual([each.is_ahead("lan") for each in workers], [False] * 3)
        self.one.count("lan", "a", 1)
        self.assertEqual([each.is_ahead("lan") for each in workers], [True, False, False])
        self.two.count("lan", "b", 1)
        self.assertEqual([each.is_ahead("lan") for each in workers], [True, True, False])
        self.three.count("lan", "c", 1)
        self.assertEqual([each.is_ahead("lan") for each in workers], [False] * 3)

    def test_other_listeners(self) -> None:
        """Each listener has limits of its own."""
        self.one.count("lan", "a", 1)
        self.assertEqual((self.two.elsewhere("wan", "a"), self.two.elsewhere("wan")), (0, 0))

    def test_many_clients(self) -> None:
        """A client is hardly ever taken for another one, among a thousand others."""
        for number in range(1000):
            self.one.count("lan", f"192.0.2.{number}", 1)
        wrong = [n for n in range(10_000) if self.two.elsewhere("lan", f"198.51.100.{n}")]
        self.assertLess(len(wrong), 50)
        self.assertEqual(self.two.elsewhere("lan"), 1000)

    def test_a_worker_that_died(self) -> None:
        """Its connections are gone with it, and those of others are not."""
        self.one.count("lan", "a", 1)
        self.two.count("lan", "a", 1)
        self.worker(0).forget(1)
        self.assertEqual((self.three.elsewhere("lan", "a"), self.three.elsewhere("lan")), (1, 1))


class FailuresTests(MemoryCase):
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
        throttle = LoginThrottle(self.clock, self.worker(number))
        return CheckerChain([Users([], maybeDeferred, self.clock)], throttle)
