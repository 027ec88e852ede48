"""Credentials that expire: when they are renewed, and what mail gets meanwhile."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.http.client import NotSent
from smtprelay.http.credentials import NoCredentialsError
from smtprelay.http.renewed import Credential, Renewed
from smtprelay.model.outcome import Blocked
from smtprelay.model.outcome import Deferred as DeferredOutcome
from tests.recording import Recording


class Service:
    """
    What the threads of a test would call.

    :ivar refused: what the calls were told.
    """

    required_at_start = False

    def __init__(self) -> None:
        self.refused: list[bool] = []

    def obtain(self, *, refused: bool) -> Credential[str]:
        self.refused.append(refused)
        return Credential("")

    def revoke(self) -> None:
        self.refused.append(True)


class RenewedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.events = Recording()
        self.service = Service()
        #: The threads that run, each as the Deferred of its end.
        self.threads: list[Deferred[Any]] = []
        self.renewed: Renewed[str] = Renewed(
            "p",
            self.service,
            clock=self.clock,
            events=self.events,
            defer=self.thread,
            chance=lambda: 1.0,
        )

    def thread(self, work: Callable[[], Any]) -> "Deferred[Any]":
        work()
        self.threads.append(Deferred())
        return self.threads[-1]

    def ask(self) -> "Deferred[str]":
        return Deferred.fromCoroutine(self.renewed.current())

    def obtain(self, value: str = "a", life: float | None = 30.0, **more: Any) -> None:
        """Let the thread end with a value."""
        expires = None if life is None else self.clock.seconds() + life
        self.threads[-1].callback(Credential(value, expires, "a service", **more))

    def close(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self.renewed.close())

    def held(self) -> str:
        return self.successResultOf(self.ask())

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)

    def test_once_for_all(self) -> None:
        """Several that wait are one request, and what was obtained is kept."""
        asked = [self.ask(), self.ask()]
        self.assertEqual(len(self.threads), 1)
        self.obtain()
        self.assertEqual([self.successResultOf(each) for each in asked], ["a", "a"])
        self.assertEqual((self.held(), len(self.threads)), ("a", 1))
        self.assertEqual(
            self.events.of("credential.renewed"), [{"provider": "p", "source": "a service", "seconds": 30.0}]
        )

    def test_one_who_gives_up(self) -> None:
        """One that waits and is cancelled takes nothing from the others."""
        asked = [self.ask(), self.ask()]
        asked[0].cancel()
        self.failureResultOf(asked[0])
        self.obtain()
        self.assertEqual(self.successResultOf(asked[1]), "a")

    def test_renewed_at_two_thirds(self) -> None:
        """It is renewed by itself after two thirds of its life; until there is another one it is used."""
        self.ask()
        self.obtain()
        self.advance(19)
        self.assertEqual(len(self.threads), 1)
        self.advance(1.1)
        self.assertEqual((len(self.threads), self.held()), (2, "a"))
        self.obtain("b")
        self.assertEqual(self.held(), "b")

    def test_without_end(self) -> None:
        """What does not expire is never renewed, and leaves no delayed call."""
        self.ask()
        self.obtain(life=None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_old_one_until_it_expires(self) -> None:
        """While renewals fail, each later than the last, the old one is used; after its end there is none."""
        self.ask()
        self.obtain()
        self.advance(20.1)
        times = []
        while self.clock.seconds() < 1_000_029:
            self.threads[-1].errback(ValueError("nobody there"))
            times.append(self.clock.seconds())
            self.assertEqual(self.held(), "a")
            while self.threads[-1].called:
                self.advance(0.1)
        waits = [round(after - before) for before, after in pairwise(times)]
        self.assertEqual(waits, [1, 2, 4])
        self.advance(5)
        asked = self.ask()
        self.threads[-1].errback(ValueError("nobody there"))
        self.assertEqual(
            self.failureResultOf(asked, NoCredentialsError).value.outcome, Blocked("nobody there")
        )
        self.assertEqual(self.events.of("credential.failed")[0], {"provider": "p", "reason": "nobody there"})

    def test_none_at_first(self) -> None:
        """Without a first one each that asks tries anew, and nothing else does."""
        for error, expected in (
            (OSError("permission denied"), "permission denied"),
            (RuntimeError("unforeseen"), "unforeseen"),
            (KeyError(), "KeyError"),
        ):
            asked = self.ask()
            self.threads[-1].errback(error)
            self.assertEqual(self.failureResultOf(asked, NoCredentialsError).value.outcome, Blocked(expected))
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_known(self) -> None:
        """A service that cannot be reached says nothing of the credential: the mail is tried later."""
        asked = self.ask()
        self.threads[-1].errback(NotSent("no answer"))
        error = self.failureResultOf(asked, NotSent).value
        self.assertEqual(error.outcome, DeferredOutcome("no answer"))

    def test_hangs(self) -> None:
        """One that hangs is waited for as long as a request; it stays the only one, and may still come."""
        asked = self.ask()
        self.clock.advance(30)
        self.assertEqual(self.failureResultOf(asked, NotSent).value.outcome.why, "no credentials within 30 s")
        later = self.ask()
        self.assertEqual(len(self.threads), 1)
        self.obtain()
        self.assertEqual(self.successResultOf(later), "a")

    def test_refused(self) -> None:
        """One that was refused is obtained anew, but not again and again; the old one is better than none."""
        self.ask()
        self.obtain(life=None)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.renewed.again())), "a")
        self.clock.advance(11)
        for ending, expected in (("b", "b"), (ValueError("gone"), "b")):
            self.clock.advance(11)
            asked = Deferred.fromCoroutine(self.renewed.again())
            if isinstance(ending, str):
                self.obtain(ending, life=None)
            else:
                self.threads[-1].errback(ending)
            self.assertEqual(self.successResultOf(asked), expected)
        self.close()

    def test_young(self) -> None:
        """For a minute one that replaces another is young; the first never is, nor one that is the same."""
        self.ask()
        for value, expected in (("a", False), ("a", False), ("b", True)):
            self.obtain(value)
            self.assertEqual(self.renewed.is_young, expected)
            self.advance(20.1)
        self.advance(40)
        self.assertFalse(self.renewed.is_young)

    def test_made_just_now(self) -> None:
        """One that was made for us is young at first, too; while it is, a refusal makes no other one."""
        self.ask()
        self.obtain(is_new=True, life=None)
        self.assertTrue(self.renewed.is_young)
        self.clock.advance(59)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.renewed.again())), "a")
        self.assertEqual(self.service.refused, [False])
        self.clock.advance(1)
        self.assertFalse(self.renewed.is_young)
        asked = Deferred.fromCoroutine(self.renewed.again())
        self.obtain("b", is_new=True, life=None)
        self.assertEqual((self.successResultOf(asked), self.service.refused), ("b", [False, True]))

    def test_renewed_as_said(self) -> None:
        """What is to be obtained again at a certain time is, also if it has no end."""
        self.ask()
        self.obtain(life=None, renew=self.clock.seconds() + 600)
        self.advance(599)
        self.assertEqual(len(self.threads), 1)
        self.advance(2)
        self.assertEqual((len(self.threads), self.held()), (2, "a"))

    def test_required_at_start(self) -> None:
        """A service may say that the relay must not start without it; why there is none is told."""
        missing = Deferred.fromCoroutine(self.renewed.missing())
        self.assertEqual((self.successResultOf(missing), self.threads), ("", []))
        self.service.required_at_start = True
        for ending, expected in ((ValueError("permission denied"), "permission denied"), (None, "")):
            missing = Deferred.fromCoroutine(self.renewed.missing())
            self.obtain() if ending is None else self.threads[-1].errback(ending)
            self.assertEqual(self.successResultOf(missing), expected)

    def test_revoked(self) -> None:
        """When it is closed it is revoked, once; that is waited for a second, and a failure is only told."""
        for ending, told in ((None, []), (ValueError("denied"), ["denied"]), ("none", ["no answer"])):
            self.setUp()
            self.ask()
            self.obtain()
            revoking = self.close()
            self.assertNoResult(revoking)
            if ending == "none":
                self.clock.advance(1)
            else:
                self.threads[-1].callback(None) if ending is None else self.threads[-1].errback(ending)
            self.successResultOf(revoking)
            texts = [str(each["text"]).rpartition(": ")[2] for each in self.events.of("relay.warning")]
            self.assertEqual(texts, told)
            self.successResultOf(self.close())
            self.assertEqual(self.service.refused, [False, True])

    def test_nothing_to_revoke(self) -> None:
        """What was never obtained is not revoked."""
        self.successResultOf(self.close())
        self.assertEqual(self.threads, [])

    def test_closed_while_obtaining(self) -> None:
        """A stop in the middle of it has that revoked, too, and waits for both."""
        asked = self.ask()
        closing = self.close()
        self.threads[1].callback(None)
        self.assertNoResult(closing)
        self.threads[0].errback(NotSent("given back"))
        self.successResultOf(closing)
        self.failureResultOf(asked, NotSent)
        self.assertEqual((self.clock.getDelayedCalls(), self.events.of("relay.warning")), ([], []))

    def test_hangs_for_long(self) -> None:
        """After two minutes another thread tries; three may hang, and mail waits for its operator."""
        self.ask()
        self.obtain(life=900.0)
        self.advance(601)
        self.assertEqual(len(self.threads), 2)
        for number in (3, 4):
            self.advance(123)
            self.assertEqual(len(self.threads), number)
        reasons = [each["reason"] for each in self.events.of("credential.failed")]
        self.assertEqual(reasons, ["no answer within 120 s; it is tried again"] * 2)
        self.advance(300)
        self.assertEqual(len(self.threads), 4)
        asked = self.ask()
        error = self.failureResultOf(asked, NoCredentialsError).value
        self.assertEqual(error.outcome, Blocked("to obtain them hangs (3 times)"))
        self.threads[1].errback(ValueError("nobody is interested"))
        self.assertEqual(self.events.of("credential.failed")[-1]["reason"], "to obtain them hangs (3 times)")
        asked = self.ask()
        self.assertEqual(len(self.threads), 5)
        self.obtain("b")
        self.assertEqual(self.successResultOf(asked), "b")

    def test_hangs_at_first(self) -> None:
        """Who waits behind one that hangs is told that, and its lane waits for an operator."""
        asked = self.ask()
        self.advance(121)
        self.failureResultOf(asked, NotSent)
        asked = self.ask()
        self.advance(31)
        error = self.failureResultOf(asked, NoCredentialsError).value
        self.assertEqual(error.outcome, Blocked("no credentials: to obtain them hangs (2 times)"))

    def test_after_a_hang(self) -> None:
        """One that comes late is used, unless a later one came before it."""
        for late in ("b", None):
            self.setUp()
            first = self.ask()
            self.advance(121)
            self.failureResultOf(first, NotSent)
            self.ask()
            self.threads[0].callback(Credential("b")) if late else None
            self.assertEqual(self.renewed.known, late)
            self.threads[1].callback(Credential("c"))
            if not late:
                self.threads[0].callback(Credential("b"))
            self.assertEqual(self.held(), "c")
            self.assertEqual(len(self.events.of("credential.renewed")), 2 if late else 1)

    def test_clock_step(self) -> None:
        """When the clock is changed it is obtained anew: when it ends may be another time now."""
        self.ask()
        self.obtain(life=3600.0)
        self.clock.advance(10_000_000)
        self.obtain(life=3600.0)
        self.renewed.clock_stepped(10_000_000.0)
        self.assertEqual(len(self.threads), 3)
        self.obtain("b", life=3600.0)
        self.assertEqual(self.held(), "b")

    def test_stop(self) -> None:
        """While the relay stops nobody waits: there is what is held, or nothing."""
        waiting = self.ask()
        self.renewed.stop_waiting()
        self.failureResultOf(waiting, NotSent)
        self.failureResultOf(self.ask(), NotSent)
        self.obtain()
        self.assertEqual(self.held(), "a")

    def test_three_seconds(self) -> None:
        """One that lasts for 3 seconds is there at every moment of 10 minutes."""
        self.ask()
        self.obtain(life=3)
        for _ in range(6000):
            self.clock.advance(0.1)
            if not self.threads[-1].called:
                self.clock.advance(0.5)
                self.obtain(life=3)
            self.held()
        self.assertLess(len(self.threads), 320)

    def test_close(self) -> None:
        """After close nothing happens by itself, and one that asks is still served."""
        self.ask()
        self.obtain()
        self.close()
        self.threads[-1].callback(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(40)
        asked = self.ask()
        self.obtain("b")
        self.assertEqual(self.successResultOf(asked), "b")
        self.assertEqual(self.clock.getDelayedCalls(), [])
