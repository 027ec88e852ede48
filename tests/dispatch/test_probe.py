from typing import Any

from twisted.internet import defer

from smtprelay.model.outcome import Blocked, Deferred, Delivered
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import MORNING, DispatcherTestCase, done


class BlockedTests(DispatcherTestCase):
    def test_a_blocked_lane_is_asked_once_and_not_for_each_mail(self) -> None:
        """Its mail waits, and one event says so."""
        one = ScriptedProvider("one", [Blocked("secret expired")])
        stage = self.stage(one)
        for _ in range(5):
            stage.accept()
        self.assertEqual(len(one.calls), 1)
        self.assertEqual(len(stage.waiting()), 5)
        self.assertEqual(
            stage.events.of("lane.blocked"),
            [{"provider": "one", "lane": "", "reason": "secret expired", "until": MORNING + 30}],
        )
        self.assertEqual(stage.events.of("message.deferred")[0]["delay"], 30)

    def test_a_probe_that_succeeds_opens_it(self) -> None:
        """And everything goes."""
        one = ScriptedProvider("one", [Blocked("secret expired")])
        one.verdicts.extend([Blocked("secret expired"), Delivered()])
        stage = self.stage(one)
        stage.accept()
        stage.accept()
        stage.clock.advance(30)
        stage.clock.advance(59)
        self.assertEqual([what for what, _ in one.calls], ["deliver", "probe"])
        stage.clock.advance(1)
        self.assertEqual([what for what, _ in one.calls], ["deliver", "probe", "probe", "deliver", "deliver"])
        self.assertEqual(stage.events.of("lane.unblocked"), [{"provider": "one", "lane": ""}])
        self.assertEqual(len(stage.events.of("lane.blocked")), 1)
        self.assertEqual(stage.waiting(), [])

    def test_where_only_a_mail_can_tell_one_is_let_through(self) -> None:
        """The others wait for what becomes of it."""
        one = ScriptedProvider("one", [Blocked("refused"), Blocked("refused")])
        stage = self.stage(one)
        for _ in range(3):
            stage.accept()
        stage.clock.advance(30)
        self.assertEqual([what for what, _ in one.calls], ["deliver", "probe", "deliver"])
        self.assertEqual(len(stage.waiting()), 3)
        stage.clock.advance(60)
        self.assertEqual(stage.waiting(), [])
        self.assertEqual(
            (len(stage.events.of("lane.blocked")), len(stage.events.of("lane.unblocked"))), (1, 1)
        )

    def test_one_probe_at_a_time(self) -> None:
        """However long it takes, and whatever else wakes the loop meanwhile."""
        probe: defer.Deferred[Any] = defer.Deferred()
        one = ScriptedProvider("one", [Blocked("x")])
        one.verdicts.append(probe)
        stage = self.stage(one)
        stage.accept()
        stage.clock.advance(30)
        stage.accept()
        stage.dispatcher.take(())
        self.assertEqual([what for what, _ in one.calls], ["deliver", "probe"])
        probe.callback(Delivered())
        self.assertEqual(stage.waiting(), [])

    def test_a_probe_that_breaks_keeps_the_lane_stopped(self) -> None:
        """It is told, and probed again later."""
        one = ScriptedProvider("one", [Blocked("x")])
        one.verdicts.extend([ValueError("no json"), Delivered()])
        stage = self.stage(one)
        stage.accept()
        stage.clock.advance(30)
        self.assertIn("ValueError: no json", str(stage.events.of("relay.warning")[0]["text"]))
        self.assertEqual(len(stage.waiting()), 1)
        stage.clock.advance(60)
        self.assertEqual(stage.waiting(), [])

    def test_blocked_mail_fails_over_at_once(self) -> None:
        """It needs no try for that, and comes to no harm."""
        one, two = ScriptedProvider("one", [Blocked("x")]), ScriptedProvider("two")
        stage = self.stage(one, two)
        message = stage.accept()
        self.assertEqual((stage.summary(message).state, len(two.sent)), ("delivered", 1))

    def test_it_does_not_fail_over_to_a_lane_that_is_stopped_too(self) -> None:
        """With everything blocked, mail waits where it is, and each provider is asked once."""
        one, two = ScriptedProvider("one", [Blocked("x")]), ScriptedProvider("two", [Blocked("y")])
        stage = self.stage(one, two)
        stage.accept()
        self.assertEqual((len(one.calls), len(two.calls)), (1, 1))
        self.assertEqual(len(stage.waiting()), 1)

    def test_weeks_of_a_blocked_lane_bounce_nothing(self) -> None:
        """An operator's mistake never costs a user's mail."""
        one = ScriptedProvider("one", [Blocked("x"), Deferred("busy")])
        one.verdicts.extend([Blocked("x")] * 5)
        stage = self.stage(one, route={"expire": 600.0})
        message = stage.accept()
        stage.clock.pump([30.0, 60.0, 120.0, 240.0, 480.0, 900.0])
        self.assertEqual(len(one.sent), 2)
        self.assertEqual(stage.summary(message).state, "deferred")

    def test_mail_of_a_mailbox_that_is_gone_expires(self) -> None:
        """All that is too old is given up at one probe; what is not yet waits."""
        gone = Blocked("no such mailbox", "box")
        one = ScriptedProvider("one", [gone] * 50)
        one.verdicts.extend([gone] * 50)
        stage = self.stage(one, route={"expire": 600.0, "on_expired": "discard"})
        old = [stage.accept(lane="box") for _ in range(5)]
        stage.clock.pump([30.0, 60.0, 120.0, 240.0])
        self.assertEqual(["queued"] * 5, [stage.summary(each).state for each in old])
        stage.clock.pump([480.0, *[0.1] * 10])
        self.assertEqual(["failed"] * 5, [stage.summary(each).state for each in old])
        young = stage.accept(lane="box")
        stage.clock.pump([0.1] * 10)
        self.assertEqual("queued", stage.summary(young).state)

    def test_a_sender_that_is_not_set_up(self) -> None:
        """His mail waits for weeks and bounces not even then, while other mail flows."""
        lane = "setup:x.org"
        one = ScriptedProvider("one", [Blocked("not verified", lane), Delivered(), *[Blocked("x", lane)] * 9])
        stage = self.stage(one, route={"expire": 600.0})
        bad, good = stage.accept(), stage.accept()
        self.assertEqual([stage.summary(each).state for each in (bad, good)], ["queued", "delivered"])
        summary = stage.summary(bad)
        self.assertEqual((summary.lane, summary.waiting_for), (lane, "not verified"))
        self.assertEqual(summary.try_now, f"smtprelay providers probe one {lane}")
        stage.clock.pump([30.0, 60.0, 120.0, 240.0, 480.0, 900.0])
        self.assertGreater(len(one.sent), 5)
        self.assertEqual([each["lane"] for each in stage.events.of("lane.blocked")], [lane])
        one.answers.clear()
        one.answers.append(Deferred("busy"))
        for _ in range(200):
            stage.clock.advance(10.0 if one.answers else 0.0)
        self.assertEqual(stage.summary(bad).state, "deferred")
        stage.clock.advance(86_400.0)
        self.assertEqual(stage.summary(bad).state, "delivered")

    def test_a_lane_that_a_lost_claim_found_blocked_is_stopped_all_the_same(self) -> None:
        """The finding is true, whoever has the mail now."""
        answer: defer.Deferred[Any] = defer.Deferred()
        one = ScriptedProvider("one", [answer])
        stage = self.stage(one)
        stage.accept()
        done(stage.spool.recover())
        answer.callback(Blocked("x"))
        self.assertEqual(done(stage.spool.admin.stats()).lanes[0].blocked_reason, "x")
        self.assertIn("nothing was recorded", str(stage.events.of("relay.warning")[0]["text"]))
