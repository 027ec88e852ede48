import contextlib
from typing import Any

from attrs import evolve
from twisted.internet import defer

from smtprelay.interfaces import Attempt, MimeWorkerUnavailable
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Uncertain
from smtprelay.model.queue import Edit, Selection
from smtprelay.model.route import Limits, RateLimit, Route, Schedule
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import MAIL, MORNING, DispatcherTestCase, Measured, Stage, done


class RetryTests(DispatcherTestCase):
    def test_deferred_goes_again_when_it_is_due(self) -> None:
        """Not sooner, and without anybody asking for it."""
        one = ScriptedProvider("one", [Deferred("421 busy")])
        stage = self.stage(one)
        message = stage.accept()
        self.assertEqual(stage.summary(message).due, MORNING + 30)
        self.assertEqual(stage.events.of("message.deferred")[0]["delay"], 30)
        stage.clock.advance(29.9)
        self.assertEqual(len(one.sent), 1)
        stage.clock.advance(0.1)
        self.assertEqual(stage.summary(message).state, "delivered")

    def test_only_open_recipients_go_again(self) -> None:
        """What was delivered is never sent twice."""
        one = ScriptedProvider("one", [{"a@x.org": Delivered(), "b@x.org": Deferred("busy")}])
        stage = self.stage(one)
        stage.accept("a@x.org", "b@x.org")
        stage.clock.advance(30)
        self.assertEqual(
            [delivery.envelope.addresses for delivery, _ in one.sent], [("a@x.org", "b@x.org"), ("b@x.org",)]
        )

    def test_no_request_before_retry_after(self) -> None:
        """Neither this mail nor another one of the lane; then they go, without a probe."""
        one = ScriptedProvider("one", [Deferred("429", retry_after=212.0)])
        stage = self.stage(one)
        stage.accept()
        stage.accept()
        stage.clock.pump([30.0] * 7 + [1.9])
        self.assertEqual(len(one.sent), 1)
        stage.clock.advance(0.1)
        self.assertEqual([what for what, _ in one.calls], ["deliver"] * 3)
        self.assertEqual(stage.waiting(), [])

    def test_it_fails_over_after_enough_deferrals(self) -> None:
        """The third one goes to the next provider at once."""
        one = ScriptedProvider("one", [Deferred("busy")] * 3)
        two = ScriptedProvider("two")
        stage = self.stage(one, two)
        stage.accept()
        stage.clock.pump([30.0, 60.0])
        self.assertEqual((len(one.sent), len(two.sent)), (3, 1))
        self.assertEqual(stage.events.of("message.delivered")[0]["provider"], "two")

    def test_an_unexpected_exception_is_tried_again_then_held(self) -> None:
        """After three, with what was raised; other mail flows."""
        one = ScriptedProvider("one", [KeyError("id")] * 3)
        stage = self.stage(one)
        message = stage.accept()
        stage.clock.pump([30.0, 60.0])
        self.assertIn("KeyError: 'id'", stage.summary(message).reason)
        self.assertEqual((stage.summary(message).state, len(stage.events.of("attempt.crashed"))), ("held", 3))
        self.assertIn("Traceback", str(stage.events.of("attempt.crashed")[0]["exc"]))
        self.assertEqual(stage.summary(stage.accept()).state, "delivered")

    def test_each_route_has_its_own_patience(self) -> None:
        """Two mails that are refused alike: one route tries once, the other one for ever."""
        once = Route(name="once", via=("one",), retry=Schedule(attempts=1))
        ever = Route(name="ever", via=("one",), retry=Schedule(first=60.0, max=60.0, jitter=0.0), expire=None)
        one = ScriptedProvider("one", [Deferred("busy")] * 50)
        self.staged = stage = Stage([one], [once, ever])
        self.addCleanup(self.stop)
        stage.start()
        first, second = stage.accept(route="once"), stage.accept(route="ever")
        self.assertEqual((stage.summary(first).state, stage.summary(second).state), ("failed", "deferred"))
        stage.clock.pump([60.0] * 10)
        self.assertEqual((stage.summary(second).state, stage.summary(second).attempts), ("deferred", 11))

    def test_attempts_end_over_all_providers(self) -> None:
        """Two providers that both refuse use up the attempts together."""
        one = ScriptedProvider("one", [Deferred("busy")] * 9)
        two = ScriptedProvider("two", [Deferred("so busy")] * 9)
        route = {
            "failover_after": 2,
            "retry": Schedule(first=1.0, jitter=0.0, attempts=5),
            "on_expired": "hold",
        }
        stage = self.stage(one, two, route=route)
        message = stage.accept()
        stage.clock.pump([1.0] * 100)
        self.assertEqual((stage.summary(message).state, stage.summary(message).attempts), ("held", 5))

    def test_a_route_that_is_gone_means_the_usual_rules(self) -> None:
        """The mail stays with its provider."""
        one, two = ScriptedProvider("one", [Deferred("busy")] * 4), ScriptedProvider("two")
        stage = self.stage(one, two)
        message = stage.accept(route="deleted")
        stage.clock.pump([30.0, 60.0, 120.0, 240.0])
        self.assertEqual((stage.summary(message).state, len(two.sent)), ("delivered", 0))


class UncertainTests(DispatcherTestCase):
    def test_a_lost_answer_is_resolved_and_not_sent_again(self) -> None:
        """The provider knows that it has the mail."""
        one, two = ScriptedProvider("one", [Uncertain("cut")]), ScriptedProvider("two")
        one.resolutions.append(Delivered("id-9"))
        stage = self.stage(one, two, route={"failover_after": 1})
        message = stage.accept()
        stage.clock.advance(5)
        self.assertEqual(one.calls, [("deliver", "M1.1"), ("resolve", "M1.1")])
        self.assertEqual((stage.summary(message).state, len(two.sent)), ("delivered", 0))
        self.assertEqual(stage.events.of("message.uncertain")[0]["reason"], "cut")

    def test_resend_sends_what_nobody_can_tell(self) -> None:
        """Once more to the same provider."""
        one = ScriptedProvider("one", [Uncertain("cut")])
        stage = self.stage(one)
        message = stage.accept()
        stage.clock.advance(5)
        self.assertEqual([what for what, _ in one.calls], ["deliver", "resolve", "deliver"])
        self.assertEqual(stage.summary(message).state, "delivered")

    def test_hold_keeps_it_until_somebody_decides(self) -> None:
        """Released, it is sent without another question."""
        one = ScriptedProvider("one", [Uncertain("cut")])
        stage = self.stage(one, route={"on_uncertain": "hold"})
        message = stage.accept()
        stage.clock.advance(5)
        self.assertEqual((stage.summary(message).state, len(one.sent)), ("held", 1))
        self.assertEqual(len(stage.events.of("message.held")), 1)
        done(stage.spool.admin.edit(Selection(ids=(message,)), Edit(action="release", who="ops")))
        self.assertEqual((stage.summary(message).state, len(one.sent)), ("delivered", 2))

    def test_an_idempotent_provider_gets_the_same_operation(self) -> None:
        """Even where the route says hold: sending again cannot deliver twice."""
        one = ScriptedProvider("one", [Uncertain("cut")], idempotent=True)
        stage = self.stage(one, route={"on_uncertain": "hold"})
        stage.accept()
        stage.clock.advance(5)
        self.assertEqual(len({delivery.operation_id for delivery, _ in one.sent}), 1)
        self.assertEqual(len(one.sent), 2)

    def test_what_was_under_way_when_the_relay_died_is_resolved_first(self) -> None:
        """An intent without an outcome is an uncertain mail."""
        one = ScriptedProvider("one", [defer.Deferred()])
        stage = self.stage(one)
        stage.accept()
        self.stop()
        stage.restart()
        self.assertEqual([what for what, _ in one.calls], ["deliver", "resolve", "deliver"])


class GoneProviderTests(DispatcherTestCase):
    def test_what_the_relay_died_of_is_held(self) -> None:
        """It is not tried again after its second death alone, and that is told."""
        one = ScriptedProvider("one", [defer.Deferred(), defer.Deferred()])
        stage = self.stage(one)
        message = stage.accept()
        for sent in (2, 2, 2):
            stage.restart()
            self.assertEqual(len(one.sent), sent)
        summary = stage.summary(message)
        self.assertEqual((summary.state, summary.uncertain), ("held", True))
        self.assertIn("crash_loop", summary.reason)
        [held] = stage.events.of("message.held")
        self.assertEqual(held["delivery"], f"{message}.1")

    def test_an_answer_between_two_deaths_clears_it(self) -> None:
        """Only deaths in a row count."""
        one = ScriptedProvider("one", [defer.Deferred(), Deferred("busy"), defer.Deferred()])
        stage = self.stage(one)
        message = stage.accept()
        for _ in range(2):
            stage.restart()
            stage.clock.advance(30.0)
        self.assertEqual(stage.summary(message).state, "delivered")

    def test_what_was_near_goes_one_after_the_other(self) -> None:
        """At once, each when the one before it has ended; what comes in meanwhile goes between them."""
        answers: list[defer.Deferred[Any]] = [defer.Deferred() for _ in range(7)]
        one = ScriptedProvider("one", answers)
        stage = self.stage(one)
        near = [stage.accept() for _ in range(3)]
        stage.restart()
        self.assertEqual([delivery.message for delivery, _ in one.sent[3:]], near[:1])
        new = stage.accept()
        self.assertEqual(len(one.sent), 4)
        for number, message in enumerate([new, *near[1:]], start=4):
            answers[number - 1].callback(Delivered())
            self.assertEqual([delivery.message for delivery, _ in one.sent[number:]], [message])
        answers[6].callback(Delivered())
        self.assertEqual(stage.waiting(), [])

    def test_what_was_near_waits_for_what_is_under_way(self) -> None:
        """It begins when the last other attempt has ended, without any timer."""
        answers: list[defer.Deferred[Any]] = [defer.Deferred() for _ in range(4)]
        one = ScriptedProvider("one", answers)
        stage = self.stage(one, rate_limit=RateLimit(concurrency=2))
        stage.accept()
        stage.dispatcher.pause()
        rest = [stage.accept() for _ in range(2)]
        stage.restart()
        self.assertEqual([delivery.message for delivery, _ in one.sent[1:]], rest)
        answers[1].callback(Delivered())
        self.assertEqual(len(one.sent), 3)
        answers[2].callback(Deferred("busy"))
        self.assertEqual(len(one.sent), 4)

    def test_mail_of_a_provider_that_is_gone_goes_to_the_next(self) -> None:
        """The configuration changed while it waited."""
        one, two = ScriptedProvider("one", [Deferred("busy")]), ScriptedProvider("two")
        stage = self.stage(one, two)
        message = stage.accept()
        del stage.providers["one"]
        stage.clock.advance(30)
        self.assertEqual(
            (stage.summary(message).state, stage.summary(message).provider), ("delivered", "two")
        )

    def test_without_another_provider_it_is_held(self) -> None:
        """Visible, with its reason."""
        stage = self.stage(ScriptedProvider("one", [Deferred("busy")]))
        message = stage.accept()
        del stage.providers["one"]
        stage.clock.advance(30)
        self.assertEqual(stage.summary(message).state, "held")
        self.assertIn("no provider 'one'", stage.summary(message).reason)


class UnreadableBodyTests(DispatcherTestCase):
    def broken(self, fault: Exception, *providers: Any, **more: Any) -> Any:
        """A relay that finds a mail whose body the spool cannot give."""
        self.staged = stage = Stage(providers, [Route(name="default", via=("one",))], **more)
        self.addCleanup(self.stop)
        real = stage.spool.body

        class Broken:
            size = 1

            async def chunks(self) -> Any:
                yield b"Subject: "
                if faults:
                    raise faults.pop()

            async def whole(self) -> bytes:
                return b"".join([chunk async for chunk in self.chunks()])

        async def claim(limit: int = 50) -> Any:
            work = await claim_all(limit)
            return evolve(work, claims=[evolve(each, body=None) for each in work.claims])

        # The spool could not give the body with the claim either.
        claim_all, stage.spool.claim = stage.spool.claim, claim  # type: ignore[method-assign]
        faults = [fault] * 3
        stage.spool.body = lambda delivery: Broken() if faults else real(delivery)  # type: ignore[method-assign]
        return stage

    def test_a_body_that_is_gone_is_held(self) -> None:
        """Visible with its reason, at once, and nobody is told that the mail was refused."""
        stage = self.broken(LookupError("the body of M1 is gone"), ScriptedProvider("one"))
        message = stage.accept()
        stage.start()
        summary = stage.summary(message)
        self.assertEqual((summary.state, stage.posted), ("held", []))
        self.assertIn("the body cannot be read: LookupError: the body of M1 is gone", summary.reason)

    def test_a_provider_that_hides_it_does_not_bounce_the_mail(self) -> None:
        """What it says without the body, whatever it is, says nothing of the mail."""

        class Hiding(ScriptedProvider):
            async def deliver(self, attempt: Attempt) -> Any:
                with contextlib.suppress(LookupError):
                    await attempt.body.whole()
                return attempt.results(Failed("empty message"))

        stage = self.broken(LookupError("gone"), Hiding("one"))
        message = stage.accept()
        stage.start()
        self.assertEqual((stage.summary(message).state, stage.posted), ("held", []))

    def test_a_disk_that_fails_for_a_while_costs_nothing(self) -> None:
        """It is read again later, and delivered."""
        one = ScriptedProvider("one")
        stage = self.broken(OSError("I/O error"), one)
        message = stage.accept()
        stage.start()
        self.assertEqual(stage.summary(message).state, "deferred")
        stage.spool.body = type(stage.spool).body.__get__(stage.spool)
        stage.clock.advance(30)
        self.assertEqual((stage.summary(message).state, len(one.sent)), ("delivered", 1))

    def test_a_body_that_cannot_be_read_is_bounced_without_its_header(self) -> None:
        """A refusal that is known is told, though the original's header is lost."""
        answers = [Failed("no such user", "5.1.1")]

        class Refusing(ScriptedProvider):
            async def deliver(self, attempt: Attempt) -> Any:
                return attempt.results(answers.pop() if answers else Delivered())

        stage = self.broken(OSError("I/O error"), Refusing("one"))
        message = stage.accept()
        stage.start()
        self.assertEqual((stage.summary(message).state, len(stage.posted)), ("failed", 1))
        self.assertIn(b"no such user", stage.posted[0].body)


class SizeTests(DispatcherTestCase):
    def test_it_is_only_sent_where_it_fits(self) -> None:
        """A limit that was changed while it waited: it goes to the next provider, or fails as too large."""
        for two, state in ((ScriptedProvider("two"), "delivered"), (None, "failed")):
            one = ScriptedProvider("one", limits=Limits(size=len(MAIL) - 1))
            stage = self.stage(*filter(None, (one, two)))
            message = stage.accept()
            self.assertEqual((stage.summary(message).state, one.sent), (state, []))
            self.stop()

    def test_a_failover_measures(self) -> None:
        """The next provider is passed over if the request that the mail becomes is too large for it."""
        for size, sent in ((100, (1, 0)), (101, (0, 1)), (MimeWorkerUnavailable(), (0, 1))):
            one, two, three = (
                ScriptedProvider("one", [Deferred("busy")]),
                Measured("two", size),
                ScriptedProvider("three"),
            )
            stage = self.stage(one, two, three, route={"failover_after": 1})
            stage.accept()
            self.assertEqual(((len(two.sent), len(three.sent)), two.measured), (sent, [MAIL]))
            self.stop()

    def test_what_was_delivered_stays_delivered_when_measuring_fails(self) -> None:
        """Only the recipient for whom another provider had to be asked about goes again."""
        one = ScriptedProvider("one", [{"a@x.org": Delivered(), "b@x.org": Failed("large", "5.3.4")}])
        stage = self.stage(one, Measured("two", ValueError("a bug")))
        message = stage.accept("a@x.org", "b@x.org")
        self.assertEqual(len(stage.events.of("attempt.crashed")), 1)
        self.assertIn("ValueError: a bug", stage.summary(message).reason)
        stage.clock.advance(30)
        self.assertEqual([delivery.envelope.addresses for delivery, _ in one.sent][1:], [("b@x.org",)])


class ResolveTests(DispatcherTestCase):
    def test_credentials_that_fail_while_it_asks_leave_it_uncertain(self) -> None:
        """The lane stops, and the mail is neither sent elsewhere nor sent again before it is resolved."""
        one, two = ScriptedProvider("one", [Uncertain("cut")]), ScriptedProvider("two")
        one.resolutions.extend([Blocked("401"), Delivered("7")])
        one.verdicts.append(Delivered())
        stage = self.stage(one, two)
        message = stage.accept()
        stage.clock.advance(5)
        self.assertEqual((stage.summary(message).uncertain, len(stage.events.of("lane.blocked"))), (True, 1))
        stage.clock.pump([30.0, 30.0])
        self.assertEqual((stage.summary(message).state, len(one.sent), two.sent), ("delivered", 1, []))
