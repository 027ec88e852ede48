import contextlib
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import CancelledError

from smtprelay.model.outcome import Blocked, Deferred, Delivered
from smtprelay.model.route import Route
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import MORNING, DispatcherTestCase, Stage, done


def failing(stage: Stage, operation: str, times: int) -> list[float]:
    """Let an operation of the spool fail so often; return the list of when it was called."""
    real, calls = getattr(stage.spool, operation), []

    async def fail(*args: Any) -> Any:
        calls.append(stage.clock.seconds() - MORNING)
        if len(calls) <= times:
            raise OSError("disk on fire")
        return await real(*args)

    setattr(stage.spool, operation, fail)
    return calls


class SpoolTroubleTests(DispatcherTestCase):
    def test_a_claim_that_fails_is_repeated_ever_more_slowly(self) -> None:
        """The loop never ends, and says what is wrong."""
        one = ScriptedProvider("one")
        self.staged = stage = Stage([one], [Route(name="default", via=("one",))])
        self.addCleanup(self.stop)
        stage.accept()
        calls = failing(stage, "claim", 3)
        stage.start()
        stage.clock.pump([0.5] * 20)
        self.assertEqual(calls[:4], [0.0, 1.0, 3.0, 7.0])
        self.assertEqual(len(one.sent), 1)
        self.assertEqual(
            stage.events.of("spool.failed")[0], {"operation": "claim", "reason": "OSError: disk on fire"}
        )

    def test_an_outcome_is_not_lost_while_the_spool_fails(self) -> None:
        """It is settled when that works again, and the mail is not sent twice."""
        one = ScriptedProvider("one")
        stage = self.stage(one)
        calls = failing(stage, "settle", 2)
        message = stage.accept()
        self.assertEqual(stage.summary(message).state, "active")
        stage.clock.pump([1.0, 2.0])
        self.assertEqual((calls, len(one.sent)), ([0.0, 1.0, 3.0], 1))
        self.assertEqual(stage.summary(message).state, "delivered")

    def test_a_lane_is_opened_when_the_spool_can_again(self) -> None:
        """A probe whose result could not be stored is repeated."""
        one = ScriptedProvider("one", [Blocked("x")])
        one.verdicts.extend([Delivered(), Delivered()])
        stage = self.stage(one)
        stage.accept()
        failing(stage, "block", 1)
        stage.clock.pump([30.0, 1.0])
        self.assertEqual([what for what, _ in one.calls], ["deliver", "probe", "probe", "deliver"])


class StopTests(DispatcherTestCase):
    def test_stop_waits_for_what_is_under_way(self) -> None:
        """Its outcome is recorded before the Deferred fires."""
        answer: defer.Deferred[Any] = defer.Deferred()
        stage = self.stage(ScriptedProvider("one", [answer]))
        message = stage.accept()
        stopped = stage.dispatcher.stop(10)
        self.assertNoResult(stopped)
        answer.callback(Delivered())
        self.successResultOf(stopped)
        self.assertEqual(stage.summary(message).state, "delivered")
        self.assertEqual(stage.clock.getDelayedCalls(), [])

    def test_stop_waits_no_longer_than_it_may(self) -> None:
        """What is given up has no outcome: it is let go as uncertain."""
        stage = self.stage(ScriptedProvider("one", [defer.Deferred()]))
        message = stage.accept()
        stopped = stage.dispatcher.stop(10)
        stage.clock.advance(9.9)
        self.assertNoResult(stopped)
        stage.clock.advance(0.1)
        self.successResultOf(stopped)
        self.assertEqual((stage.summary(message).state, stage.dispatcher.given_up), ("active", True))
        self.assertEqual(stage.events.of("attempt.crashed"), [])
        self.assertEqual(done(stage.spool.release()), 1)
        self.assertTrue(stage.summary(message).uncertain)

    def test_a_settlement_that_never_ends_is_given_up_too(self) -> None:
        """Nothing is tried again after the stop."""
        stage = self.stage()

        async def never(*_: object) -> bool:
            await defer.Deferred()
            return True

        stage.spool.settle = never  # type: ignore[method-assign]
        stage.accept()
        stopped = stage.dispatcher.stop(10)
        stage.clock.advance(10)
        self.successResultOf(stopped)
        self.assertEqual((stage.clock.getDelayedCalls(), stage.events.of("spool.failed")), ([], []))

    def test_an_answer_after_it_was_given_up(self) -> None:
        """A provider that makes an outcome of being cancelled has it recorded, if the spool can; once."""

        class Answering(ScriptedProvider):
            async def deliver(self, *_: Any) -> Any:
                with contextlib.suppress(CancelledError):
                    await defer.Deferred()
                return {"a@x.org": Deferred("cut")}

        for times, state in ((0, "deferred"), (1, "active")):
            stage = self.stage(Answering("one"))
            failing(stage, "settle", times)
            message = stage.accept()
            stopped = stage.dispatcher.stop(10)
            stage.clock.advance(10)
            self.successResultOf(stopped)
            self.assertEqual((stage.summary(message).state, stage.clock.getDelayedCalls()), (state, []))

    def test_after_stop_nothing_is_begun(self) -> None:
        """What an accept still claims is given back, untouched."""
        one = ScriptedProvider("one")
        stage = self.stage(one)
        self.successResultOf(stage.dispatcher.stop(10))
        message = stage.accept()
        self.assertEqual((one.sent, stage.summary(message).state), ([], "queued"))
        self.assertFalse(stage.summary(message).uncertain)

    def test_a_pause(self) -> None:
        """What is under way goes on, nothing is begun, neither accepted nor due; then all of it."""
        answer: defer.Deferred[Any] = defer.Deferred()
        one = ScriptedProvider("one", [Deferred("busy"), answer])
        stage = self.stage(one)
        due = stage.accept()
        flying = stage.accept()
        stage.dispatcher.pause()
        waiting = stage.accept()
        stage.clock.advance(3600)
        self.assertEqual((len(one.sent), stage.dispatcher.attempts), (2, 1))
        answer.callback(Delivered())
        self.assertEqual(stage.summary(flying).state, "delivered")
        self.assertEqual((len(one.sent), stage.dispatcher.attempts), (2, 0))
        stage.dispatcher.start()
        self.assertEqual([stage.summary(each).state for each in (due, waiting)], ["delivered"] * 2)

    def test_a_probe_does_not_hold_up_the_stop(self) -> None:
        """The lane stays as it is."""
        one = ScriptedProvider("one", [Blocked("x")])
        one.verdicts.append(defer.Deferred())
        stage = self.stage(one)
        stage.accept()
        stage.clock.advance(30)
        self.successResultOf(stage.dispatcher.stop(10))
        self.assertEqual(stage.events.of("spool.failed"), [])

    def test_a_cancellation_from_within_a_provider_is_a_crash_like_another(self) -> None:
        """Only our own giving up leaves an attempt without an outcome."""
        answer: defer.Deferred[Any] = defer.Deferred()
        stage = self.stage(ScriptedProvider("one", [answer]))
        message = stage.accept()
        answer.cancel()
        self.assertEqual(stage.summary(message).state, "deferred")
        self.assertEqual(len(stage.events.of("attempt.crashed")), 1)
