"""An operator's hand on lanes, and on mail that needs a provider or a letter for it."""

from twisted.internet import defer
from twisted.internet.defer import fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.hold_rule_runner import HoldRuleRunner
from smtprelay.dispatch.operator import OperatorActions
from smtprelay.dispatch.reachability_watch import ReachabilityWatch
from smtprelay.model.outcome import Blocked, Deferred
from smtprelay.model.queue import Edit, Selection, Unreachable
from smtprelay.model.queue_admin import HoldRule
from smtprelay.model.route import Limits
from smtprelay.net.reachability import Reachability
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import MORNING, DispatcherTestCase, Stage, done
from tests.recording import Recording


def change(stage: Stage, action: str, **more: object):
    """Carry out a change of everything, as the API does."""
    edit = Edit(action=action, who="ops", **more)
    return done(stage.spool.admin.edit(Selection(everything=True), edit, "", stage.operator))


class RerouteTests(DispatcherTestCase):
    def test_it_goes_where_the_provider_wants_it(self) -> None:
        """In the lane that the provider names, at once."""
        one, two = ScriptedProvider("one", [Deferred("busy")]), ScriptedProvider("two")
        stage = self.stage(one, two)
        stage.accept()
        self.assertEqual(change(stage, "reroute", provider="two").count, 1)
        self.assertEqual([delivery.message for delivery, _ in two.sent], ["M1"])

    def test_limits(self) -> None:
        """What the provider cannot take stays, and why is told."""
        one, two = ScriptedProvider("one", [Deferred("busy")]), ScriptedProvider("two")
        two.limits = Limits(size=10)
        stage = self.stage(one, two)
        stage.accept()
        edited = change(stage, "reroute", provider="two")
        self.assertEqual((edited.count, edited.left), (0, {"beyond the limits of two": 1}))
        edited = change(stage, "reroute", provider="one")
        self.assertEqual((edited.count, edited.left), (0, {"goes to one already": 1}))

    def test_an_unknown_provider(self) -> None:
        """It is named, with those that are there; nothing moves."""
        stage = self.stage(ScriptedProvider("one", [Deferred("busy")]))
        stage.accept()
        edit = Edit(action="reroute", provider="tow", who="ops")
        work = stage.spool.admin.edit(Selection(everything=True), edit, "", stage.operator)
        failure = self.failureResultOf(defer.Deferred.fromCoroutine(work), LookupError)
        self.assertIn("there is no provider 'tow': expected one", str(failure.value))


class DeleteTests(DispatcherTestCase):
    def test_the_sender_is_told(self) -> None:
        """In the usual report, with the operator's reason as his own words."""
        stage = self.stage(ScriptedProvider("one", [Deferred("busy")]))
        stage.accept("a@x.org", "b@x.org")
        change(stage, "delete", bounce=True, why="spam run")
        (posted,) = stage.posted
        self.assertEqual(posted.draft.envelope.addresses, ("scan@example.com",))
        for words in (b"Reason (the operator): spam run", b"a@x.org", b"b@x.org", b"Status: 5.7.0"):
            self.assertIn(words, posted.body)

    def test_nobody_is_told_of_a_bounce(self) -> None:
        """A mail from nobody is deleted without a word."""
        stage = self.stage(ScriptedProvider("one", [Deferred("busy")]))
        stage.accept(sender="")
        self.assertEqual(change(stage, "delete", bounce=True).count, 1)
        self.assertEqual(stage.posted, [])


class LaneTests(DispatcherTestCase):
    def refusal(self, work, kind: type[Exception] = ValueError) -> str:
        return str(self.failureResultOf(defer.Deferred.fromCoroutine(work), kind).value)

    def test_a_blocked_lane_is_tried_now(self) -> None:
        """The probe does not wait for its time; what waits goes when it says that the lane works."""
        one = ScriptedProvider("one", [Blocked("401")])
        stage = self.stage(one)
        stage.accept()
        self.assertEqual(len(one.sent), 1)
        done(stage.operator.probe("one", "", "ops"))
        stage.clock.advance(1)
        self.assertEqual(len(one.sent), 2)
        (told,) = stage.events.of("lane.changed")
        self.assertEqual((told["action"], told["who"], told["why"]), ("probe", "ops", "401"))

    def test_an_unreachable_provider_is_probed_soon(self) -> None:
        """By whoever watches it; the operator's request itself asks nobody and stops no lane."""
        one = ScriptedProvider("one")
        stage = self.stage(one)
        stage.accept()
        watch = ReachabilityWatch(
            {"one": Reachability("one", stage.clock.seconds)},
            stage.providers,
            stage.clock,
            stage.events,
            spool=stage.spool.admin,
            lanes=stage.context.lanes,
        )
        done(watch.begin())
        operator = OperatorActions(stage.context, stage.reporter, stage.dispatcher, watch)
        told = Unreachable(provider="one", since=1.0, host="x:443", stage="connect", reason="refused")
        done(stage.spool.admin.note_reachability("one", told))
        done(operator.probe("one", "", "ops"))
        self.assertEqual([call for call in one.calls if call[0] == "probe"], [])
        done(watch.check_providers())
        self.assertEqual([call for call in one.calls if call[0] == "probe"], [("probe", "")])
        self.assertEqual("probe", stage.events.of("lane.changed")[0]["action"])
        self.assertIsNone(done(stage.spool.admin.stats()).lanes[0].blocked_until)

    def test_a_pause_is_respected(self) -> None:
        """A provider that asked us to wait is only asked before if that is forced."""
        one = ScriptedProvider("one", [Deferred("429", retry_after=600.0)])
        stage = self.stage(one)
        stage.accept()
        stage.accept()
        self.assertEqual(len(one.sent), 1)
        self.assertIn("asked to wait", self.refusal(stage.operator.probe("one", "", "ops")))
        done(stage.operator.probe("one", "", "ops", force=True))
        stage.clock.advance(1)
        self.assertEqual([delivery.message for delivery, _ in one.sent], ["M1", "M2"])

    def test_what_is_not_there_or_runs(self) -> None:
        """Each refusal says why."""
        stage = self.stage(ScriptedProvider("one"))
        stage.accept()
        operator = stage.operator
        self.assertIn("not blocked", self.refusal(operator.probe("one", "", "ops")))
        self.assertIn("no lane 'box'", self.refusal(operator.probe("one", "box", "ops"), LookupError))
        self.assertIn("no provider", self.refusal(operator.suspend("two", "ops", ""), LookupError))
        self.assertIn("not suspended", self.refusal(operator.resume("one", "ops")))

    def test_a_suspended_provider_gets_nothing(self) -> None:
        """Not after days, not by a restart and not by a probe, until it is resumed."""
        one = ScriptedProvider("one")
        stage = self.stage(one)
        done(stage.operator.suspend("one", "ops", "maintenance"))
        stage.accept()
        stage.clock.advance(7 * 86400)
        stage.dispatcher.stop(1)
        stage.restart()
        stage.clock.advance(86400)
        self.assertEqual(one.sent, [])
        self.assertEqual("suspended by ops: maintenance", stage.summary("M1").waiting_for)
        self.assertIn("resume it", self.refusal(stage.operator.probe("one", "", "ops", force=True)))
        done(stage.operator.resume("one", "ops"))
        stage.clock.advance(1)
        self.assertEqual(len(one.sent), 1)

    def test_a_suspension_with_an_end(self) -> None:
        """It goes on at that time without anybody's asking, and the log says so; a restart is no matter."""
        one = ScriptedProvider("one")
        stage = self.stage(one)
        done(stage.operator.suspend("one", "ops", "maintenance", 7200.0))
        stage.accept()
        stage.dispatcher.stop(1)
        stage.restart()
        stage.clock.advance(7199)
        self.assertEqual((one.sent, stage.events.of("lane.unblocked")), ([], []))
        stage.clock.advance(1)
        self.assertEqual(len(one.sent), 1)
        self.assertEqual([told["provider"] for told in stage.events.of("lane.unblocked")], ["one"])

    def test_a_suspension_of_no_time(self) -> None:
        """What is no time, or a slip of the hand, is refused."""
        stage = self.stage(ScriptedProvider("one"))
        for seconds in (0.0, -1.0, 9e12, float("nan")):
            refusal = self.refusal(stage.operator.suspend("one", "ops", "", seconds))
            self.assertIn("more than no time", refusal)

    def test_a_clock_that_is_put_moves_the_end(self) -> None:
        """A suspension of two hours is over after two hours, however the clock is put meanwhile."""
        for seconds in (90_000.0, -180_000.0):
            one = ScriptedProvider("one")
            stage = self.stage(one)
            done(stage.operator.suspend("one", "ops", "", 7200.0))
            stage.accept()
            stage.clock.rightNow += seconds
            stage.dispatcher.clock_stepped(seconds)
            stage.clock.advance(7100)
            self.assertEqual(one.sent, [])
            stage.clock.advance(110)
            self.assertEqual(len(one.sent), 1)

    def test_a_clock_that_is_put_does_not_resume_it(self) -> None:
        """However the clock is put, a suspended provider stays so."""
        one = ScriptedProvider("one")
        stage = self.stage(one)
        done(stage.operator.suspend("one", "ops", ""))
        stage.accept()
        for seconds in (90_000.0, -180_000.0):
            stage.clock.rightNow += seconds
            stage.dispatcher.clock_stepped(seconds)
            stage.clock.advance(1)
        self.assertEqual([True], [lane.suspended for lane in done(stage.spool.admin.stats()).lanes])
        self.assertEqual(one.sent, [])

    def test_its_mail_goes_on_elsewhere(self) -> None:
        """What waits and what comes in takes the next provider of its route."""
        one, two = ScriptedProvider("one", [Deferred("busy")]), ScriptedProvider("two")
        stage = self.stage(one, two)
        stage.accept()
        done(stage.operator.suspend("one", "ops", ""))
        stage.accept()
        stage.clock.advance(60)
        self.assertEqual(sorted(delivery.message for delivery, _ in two.sent), ["M1", "M2"])
        self.assertEqual(len(one.sent), 1)

    def test_an_attempt_under_way_does_not_resume_it(self) -> None:
        """What was under way when the provider was suspended ends as it ends; the suspension stays."""
        for outcome in (Blocked("401"), Deferred("429", retry_after=5.0), Deferred("busy")):
            answer: defer.Deferred[object] = defer.Deferred()
            one = ScriptedProvider("one", [answer])
            stage = self.stage(one)
            stage.accept()
            done(stage.operator.suspend("one", "ops", "x"))
            answer.callback(outcome)
            stage.clock.advance(3600)
            (lane,) = done(stage.spool.admin.stats()).lanes
            self.assertEqual((lane.suspended, lane.blocked_reason), (True, "suspended by ops: x"), outcome)
            self.assertEqual(len(one.sent), 1)


class HoldRuleTests(DispatcherTestCase):
    def test_a_rule_ends_by_itself(self) -> None:
        """What it held is sent at that time, without anybody asking."""
        one = ScriptedProvider("one")
        stage = self.stage(one)
        until = MORNING + 600
        done(stage.spool.admin.hold(HoldRule(recipient="*", reason="", who="ops", until=until)))
        stage.operator.hold_rules_changed()
        stage.accept()
        stage.clock.advance(599)
        self.assertEqual(one.sent, [])
        stage.clock.advance(2)
        self.assertEqual(len(one.sent), 1)
        self.assertEqual(stage.events.of("hold_rule.removed")[0]["who"], "expired")

    def test_a_rule_outlives_the_relay(self) -> None:
        """One whose time ran out while the relay was down ends at its start."""
        one = ScriptedProvider("one")
        stage = self.stage(one)
        done(stage.spool.admin.hold(HoldRule(recipient="*", reason="", who="ops", until=MORNING + 60)))
        stage.accept()
        stage.dispatcher.stop(1)
        stage.clock.advance(100)
        stage.restart()
        self.assertEqual(len(one.sent), 1)

    def test_a_fault_is_told_and_tried_again(self) -> None:
        """When the spool fails the rules are seen to later."""
        clock, events = Clock(), Recording()

        class Failing:
            asked = 0

            async def apply_hold_rules(self):
                self.asked += 1
                await fail(RuntimeError("disk"))

        spool = Failing()
        rules = HoldRuleRunner(spool, clock, events)
        rules.wake()
        clock.advance(61)
        self.assertEqual(spool.asked, 2)
        self.assertEqual(events.of("spool.failed")[0]["operation"], "hold_rules")
        rules.stop()
        self.assertEqual(clock.getDelayedCalls(), [])


class QuietTests(SynchronousTestCase):
    def test_without_rules_nothing_is_waited_for(self) -> None:
        """The clock has no call for what is not there."""
        clock = Clock()

        class Empty:
            async def apply_hold_rules(self) -> None:
                return None

        rules = HoldRuleRunner(Empty(), clock, Recording())
        rules.wake()
        self.assertEqual(clock.getDelayedCalls(), [])
