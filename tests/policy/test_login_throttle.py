"""How long guessers wait."""

import os
from collections.abc import Iterator
from itertools import count

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Refused
from smtprelay.net.worker_memory import WorkerMemory, new_memory
from smtprelay.policy import login_throttle
from smtprelay.policy.login_throttle import LoginAttempt, LoginThrottle

HOME, AWAY = "192.0.2.7", "198.51.100.1"


class Guesser:
    """
    Tries one login after the other.

    :param seconds: that it takes to verify one.
    :ivar verified: when each was, that was wrong or right.
    :ivar told_to_wait: how many were told to come again.
    """

    def __init__(self, throttle: LoginThrottle, clock: Clock, seconds: float = 0.06) -> None:
        self.throttle = throttle
        self.clock = clock
        self.seconds = seconds
        self.verified: list[float] = []
        self.told_to_wait = 0

    def login(
        self, password: bytes, *, right: bool = False, name: bytes = b"ann", at: str = HOME
    ) -> Deferred[None]:
        """Try a password."""
        return Deferred.fromCoroutine(self._login(password, right=right, name=name, at=at))

    async def _login(self, password: bytes, *, right: bool, name: bytes, at: str) -> None:
        try:
            attempt = await self.throttle.begin(at, name, password)
        except Refused as refused:
            assert refused.reply.code == 454, refused.reply
            self.told_to_wait += 1
            return
        verifying: Deferred[None] = Deferred()
        self.clock.callLater(self.seconds, verifying.callback, None)
        await verifying
        self.verified.append(self.clock.seconds())
        (self.throttle.passed if right else self.throttle.failed)(attempt)


class ThrottleCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.throttle = LoginThrottle(self.clock)

    def begin(self, password: bytes = b"x", client: str = HOME, name: bytes = b"ann") -> LoginAttempt:
        """Begin an attempt that need not wait."""
        return self.successResultOf(self.beginning(password, client, name))

    def beginning(self, password: bytes = b"x", client: str = HOME, name: bytes = b"ann") -> Deferred:
        return Deferred.fromCoroutine(self.throttle.begin(client, name, password))

    def guesses(self, count: int, client: str = HOME, name: bytes = b"ann") -> Iterator[float]:
        """Guess wrong so often; give the seconds that each had to wait."""
        for n in range(count):
            began = self.clock.seconds()
            attempt = self.beginning(b"guess %d" % n, client, name)
            while not attempt.called:
                self.clock.advance(0.5)
            self.throttle.failed(self.successResultOf(attempt))
            yield self.clock.seconds() - began

    def wait(self, client: str, name: bytes) -> float:
        """Return how long a login has to wait that turns out to be none of anybody's business."""
        began = self.clock.seconds()
        attempt = self.beginning(b"another", client, name)
        while not attempt.called:
            self.clock.advance(0.5)
        self.throttle.undecided(self.successResultOf(attempt))
        return self.clock.seconds() - began


class WaitingTests(ThrottleCase):
    def test_waits_grow_to_a_bound(self) -> None:
        """The first failures are free, then each guess doubles the wait, up to the longest."""
        self.assertEqual(list(self.guesses(9)), [0, 0, 0, 1, 2, 4, 8, 15, 15])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_time_passes(self) -> None:
        """What has passed since the last guess need not be waited for."""
        list(self.guesses(5))
        self.clock.advance(3)
        self.assertEqual(self.wait(HOME, b"ann"), 1)

    def test_many_failures_are_no_overflow(self) -> None:
        """After thousands of guesses the wait still is the longest."""
        self.assertEqual(list(self.guesses(2000))[-1], login_throttle.LONGEST)

    def test_client_and_user_count_apart(self) -> None:
        """A user who is guessed at from elsewhere waits, and so does a client that guessed at others."""
        for client, name, wait in ((AWAY, b"ann", 4), (HOME, b"bob", 4), (AWAY, b"bob", 0)):
            self.throttle = LoginThrottle(self.clock)
            list(self.guesses(5))
            self.assertEqual(self.wait(client, name), wait)

    def test_an_ipv6_network_is_one_client(self) -> None:
        """Whoever has a /64 has one client's tries; the next one has its own."""
        for n in range(5):
            list(self.guesses(1, f"2001:db8::{n}", b"user %d" % n))
        self.assertEqual(self.wait("2001:db8::ffff:1", b"joe"), 4)
        self.assertEqual(self.wait("2001:db8:0:1::1", b"joe"), 0)

    def test_ipv4_within_ipv6(self) -> None:
        """One IPv4 address is one client, however it is written."""
        for n in range(5):
            list(self.guesses(1, ("192.0.2.7", "::ffff:192.0.2.7")[n % 2], b"user %d" % n))
        self.assertEqual(self.wait("::ffff:c000:207", b"joe"), 4)
        self.assertEqual(self.wait("::ffff:192.0.2.8", b"joe"), 0)

    def test_one_wrong_password_again_and_again(self) -> None:
        """Repeating the same wrong password is one guess."""
        for _ in range(100):
            self.throttle.failed(self.begin(b"the same"))
        self.assertEqual(self.wait(HOME, b"ann"), 0)

    def test_quiet_forgives(self) -> None:
        """Some time after the last failure all is forgotten."""
        list(self.guesses(9))
        self.clock.advance(login_throttle.MEMORY + 1)
        self.assertEqual(list(self.guesses(3)), [0, 0, 0])

    def test_memory_is_bounded(self) -> None:
        """However many clients fail, and pass, only the last ones are remembered."""
        list(self.guesses(5))
        for n in range(login_throttle.REMEMBERED):
            self.throttle.failed(self.begin(client=str(n), name=b"%d" % n))
            self.throttle.passed(self.begin(b"right", client=str(n), name=b"%d" % n))
        for known in (self.throttle._failures, self.throttle._passed):
            self.assertEqual(len(known), login_throttle.REMEMBERED)
        self.assertEqual((self.wait(HOME, b"ann"), self.throttle._waiting), (0, {}))


class InFlightTests(ThrottleCase):
    def setUp(self) -> None:
        super().setUp()
        self.guesser = Guesser(self.throttle, self.clock)

    def test_many_connections_at_once(self) -> None:
        """48 connections that guess all the time get no more tries than one, whoever they guess at."""
        for spread in (b"ann", b"user %d"):
            self.setUp()
            guesser, guesses = self.guesser, count()
            lines: list[Deferred | None] = [None] * 48
            for _ in range(400):
                for line, busy in enumerate(lines):
                    if busy is None or busy.called:
                        n = next(guesses)
                        name = spread % n if b"%" in spread else spread
                        lines[line] = guesser.login(b"%d" % n, name=name)
                self.clock.advance(0.1)
            self.assertLess(len(guesser.verified), 10)

    def test_a_botnet_at_one_name(self) -> None:
        """From wherever the guesses at a name come, they have their turns one after the other."""
        for n in range(48):
            self.guesser.login(b"%d" % n, at=f"198.51.100.{n}")
        self.clock.pump([0.1] * 400)
        self.assertLess(len(self.guesser.verified), 10)
        self.assertEqual(len(self.guesser.verified) + self.guesser.told_to_wait, 48)

    def test_a_stop(self) -> None:
        """Who waits when the relay stops is told at once to come again, and so is whoever comes later."""
        list(self.guesses(5))
        waiting = [self.beginning(b"%d" % n, HOME, b"user %d" % n) for n in range(3)]
        self.throttle.stop()
        for login in (*waiting, self.beginning(b"late")):
            self.assertEqual(self.failureResultOf(login, Refused).value.reply.code, 454)
        self.assertEqual((self.clock.getDelayedCalls(), self.throttle._waiting), ([], {}))
        self.throttle.passed(self.begin(client=AWAY, name=b"bob"))

    def test_a_client_that_is_gone(self) -> None:
        """Its login does not wait, and is no guess; those of others do."""
        list(self.guesses(5))
        lost: Deferred[None] = Deferred()
        gone = [
            Deferred.fromCoroutine(self.throttle.begin(HOME, b"ann", b"%d" % n, lost=lost)) for n in range(2)
        ]
        stays = self.beginning(b"stays")
        lost.callback(None)
        for login in gone:
            self.failureResultOf(login, Refused)
        self.assertNoResult(stays)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(4)
        self.throttle.failed(self.successResultOf(stays))

    def test_nobody_waits_for_ever(self) -> None:
        """Who would have to wait for too long is told so at once; who waited too long, then."""
        logins = [self.guesser.login(b"%d" % n) for n in range(30)]
        self.clock.pump([0.1] * 310)
        self.assertTrue(all(login.called for login in logins))
        self.assertEqual((self.throttle._waiting, self.clock.getDelayedCalls()), ({}, []))
        many = [self.guesser.login(b"late %d" % n) for n in range(login_throttle.WAITING + 10)]
        self.assertEqual(sum(login.called for login in many), 9, "one is verified, the others wait")
        self.clock.pump([0.1] * 310)

    def test_many_who_are_right(self) -> None:
        """Right logins of many users of one client, at once, wait for one another and no longer."""
        for n in range(48):
            self.guesser.login(b"right", right=True, name=b"user %d" % n)
        self.clock.pump([0.06] * 20)
        self.assertEqual((len(self.guesser.verified), self.guesser.told_to_wait), (48, 0))
        self.assertEqual(self.wait(HOME, b"joe"), 0)

    def test_one_device_many_connections(self) -> None:
        """A device that logs in on many connections at once, the same login, does not wait at all."""
        for _ in range(20):
            self.guesser.login(b"right", right=True)
        self.clock.advance(0.06)
        self.assertEqual(len(self.guesser.verified), 20)

    def test_who_logged_in_lately_goes_first(self) -> None:
        """What succeeded from there does not wait behind others' wrong logins; another password does."""
        self.guesser.login(b"right", right=True, name=b"joe")
        self.clock.advance(1)
        for n in range(40):
            self.guesser.login(b"%d" % n, name=b"ann")
            self.guesser.login(b"%d" % n, name=b"joe", at=f"198.51.100.{n}")
        self.clock.pump([0.1] * 50)
        first = self.guesser.login(b"right", right=True, name=b"joe")
        self.clock.advance(0.06)
        self.successResultOf(first)
        elsewhere = self.guesser.login(b"right", right=True, name=b"joe", at=AWAY)
        guess = self.guesser.login(b"wrong", name=b"joe")
        self.clock.advance(0.06)
        for late in (elsewhere, guess):
            self.assertNoResult(late)  # a right guess must not be told by its speed
        self.clock.pump([0.1] * 310)
        self.assertTrue(elsewhere.called and guess.called)

    def test_a_password_that_was_changed(self) -> None:
        """A login that fails now goes first no more, and counts."""
        self.throttle.passed(self.begin(b"old", name=b"joe"))
        for _ in range(2):
            self.throttle.failed(self.begin(b"old", name=b"joe"))
        self.assertEqual(self.throttle._passed, {})
        self.assertEqual([known.count for known in self.throttle._failures.values()], [1, 1])

    def test_lately_ends(self) -> None:
        """After a day it is not lately any more."""
        self.throttle.passed(self.begin(b"right", name=b"joe"))
        self.clock.advance(login_throttle.LATELY)
        list(self.guesses(5, name=b"joe"))
        self.assertNoResult(waiting := self.beginning(b"right", name=b"joe"))
        self.clock.advance(4)
        self.throttle.passed(self.successResultOf(waiting))

    def test_what_nobody_could_tell(self) -> None:
        """An attempt that nobody could verify was no guess."""
        for n in range(20):
            self.throttle.undecided(self.begin(b"%d" % n))
        self.assertEqual(list(self.guesses(3)), [0, 0, 0])


class SeveralProcessesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        number = new_memory(2)
        self.addCleanup(os.close, number)
        self.guessers = [
            Guesser(LoginThrottle(self.clock, WorkerMemory(number, worker)), self.clock) for worker in (1, 2)
        ]

    def test_in_flight_elsewhere(self) -> None:
        """Guesses at two processes at once have no more tries than at one."""
        for n in range(48):
            self.guessers[n % 2].login(b"%d" % n)
        self.clock.pump([0.1] * 400)
        self.assertLess(sum(len(each.verified) for each in self.guessers), 12)

    def test_lately_elsewhere(self) -> None:
        """Who logged in at one process goes first at the other, too."""
        self.guessers[0].login(b"right", right=True, name=b"joe")
        self.clock.advance(0.06)
        for n in range(40):
            self.guessers[1].login(b"%d" % n)
        self.clock.advance(2)
        first = self.guessers[1].login(b"right", right=True, name=b"joe")
        self.clock.advance(0.06)
        self.successResultOf(first)

    def test_right_logins_are_taken_back(self) -> None:
        """What was right at one process does not make the other slow."""
        for n in range(20):
            self.guessers[0].login(b"right", right=True, name=b"user %d" % n)
            self.clock.advance(0.06)
        self.guessers[1].login(b"right", right=True, name=b"joe")
        self.clock.advance(0.06)
        self.assertEqual(len(self.guessers[1].verified), 1)
