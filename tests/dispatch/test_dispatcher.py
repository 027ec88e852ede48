from typing import Any

from attrs import evolve
from twisted.internet import defer

from smtprelay.model.attempt import Block
from smtprelay.model.outcome import Deferred, Delivered, Failed
from smtprelay.model.queue import Edit, Selection
from smtprelay.model.route import RateLimit, Route, Window
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import MAIL, MORNING, DispatcherTestCase, Stage, done
from tests.recording import Recording


class DeliveryTests(DispatcherTestCase):
    def test_what_is_accepted_is_delivered_at_once(self) -> None:
        """The body reaches the provider as it was stored, and the log tells the way."""
        one = ScriptedProvider("one", [Delivered("id-7")])
        stage = self.stage(one)
        message = stage.accept("a@x.org", "b@x.org")
        self.assertEqual([(delivery.id, body) for delivery, body in one.sent], [("M1.1", MAIL)])
        self.assertEqual(stage.summary(message).state, "delivered")
        self.assertEqual(
            stage.events.of("message.delivered"),
            [
                {
                    "message": "M1",
                    "delivery": "M1.1",
                    "recipients": "a@x.org, b@x.org",
                    "count": 2,
                    "provider": "one",
                    "provider_id": "id-7",
                    "age": 0.0,
                    "seconds": 0.0,
                }
            ],
        )
        self.assertEqual(stage.events.of("attempt.ended")[0]["outcome"], "delivered")

    def test_what_was_queued_before_the_start_is_claimed(self) -> None:
        """Its body is read from the spool."""
        one = ScriptedProvider("one")
        self.staged = stage = Stage([one], [Route(name="default", via=("one",))])
        self.addCleanup(self.stop)
        stage.accept()
        self.assertEqual(one.sent, [])
        stage.start()
        self.assertEqual([body for _, body in one.sent], [MAIL])

    def test_what_found_no_slot_goes_when_one_is_free(self) -> None:
        """A result is a reason to ask the spool."""
        answers: list[defer.Deferred[Any]] = [defer.Deferred() for _ in range(3)]
        one = ScriptedProvider("one", answers)
        stage = self.stage(one, rate_limit=RateLimit(concurrency=1))
        for _ in range(3):
            stage.accept()
        self.assertEqual(len(one.sent), 1)
        answers[0].callback(Delivered())
        self.assertEqual(len(one.sent), 2)
        answers[1].callback(Delivered())
        answers[2].callback(Delivered())
        self.assertEqual(stage.waiting(), [])

    def test_each_free_slot_is_used(self) -> None:
        """Also while others are still occupied."""
        answers: list[defer.Deferred[Any]] = [defer.Deferred() for _ in range(5)]
        one = ScriptedProvider("one", answers)
        stage = self.stage(one, rate_limit=RateLimit(concurrency=2))
        for _ in range(5):
            stage.accept()
        counts = []
        for answer in answers:
            counts.append(len(one.sent))
            answer.callback(Delivered())
        self.assertEqual(counts, [2, 3, 4, 5, 5])

    def test_a_delivery_that_was_queued_beside_a_claimed_one_is_not_forgotten(self) -> None:
        """It goes as soon as there is a slot, without any clock."""
        answers: list[defer.Deferred[Any]] = [defer.Deferred(), defer.Deferred(), defer.Deferred()]
        one = ScriptedProvider("one", answers)
        stage = self.stage(one, rate_limit=RateLimit(concurrency=2))
        stage.accept()
        stage.accept("a@x.org", "b@x.org", split=True)
        self.assertEqual([delivery.id for delivery, _ in one.sent], ["M1.1", "M2.1"])
        answers[0].callback(Delivered())
        self.assertEqual(one.sent[-1][0].id, "M2.2")

    def test_a_slot_is_free_when_the_provider_has_the_body(self) -> None:
        """A provider that is polled for its verdict does not hold up the next mail."""
        one = ScriptedProvider("one", [defer.Deferred(), defer.Deferred()], takes=True)
        self.staged = stage = Stage(
            [one], [Route(name="default", via=("one",))], rate_limit=RateLimit(concurrency=1)
        )
        self.addCleanup(self.stop)
        stage.accept()
        stage.accept()
        stage.start()
        self.assertEqual(len(one.sent), 2)

    def test_a_bounce_is_seen_under_load(self) -> None:
        """It goes out at once, whatever else is under way."""
        one = ScriptedProvider("one", [defer.Deferred(), Failed("no")])
        stage = self.stage(one)
        stage.accept()
        stage.accept()
        self.assertEqual([delivery.message for delivery, _ in one.sent], ["M1", "M2", "B1"])

    def test_a_deferral_is_seen_under_load(self) -> None:
        """The loop knows when it is due."""
        one = ScriptedProvider("one", [defer.Deferred(), Deferred("busy")])
        stage = self.stage(one)
        stage.accept()
        stage.accept()
        stage.clock.advance(30)
        self.assertEqual(len(one.sent), 3)

    def test_the_pace_wakes_it(self) -> None:
        """What waits for a token goes when the spool said that there is one."""
        one = ScriptedProvider("one")
        stage = self.stage(one, rate_limit=RateLimit(windows=(Window(count=1, seconds=60),)))
        stage.accept()
        stage.accept()
        self.assertEqual(len(one.sent), 1)
        stage.clock.advance(120)
        self.assertEqual(len(one.sent), 2)

    def test_an_edit_wakes_it(self) -> None:
        """An operator's retry does not wait for the due time."""
        one = ScriptedProvider("one", [Deferred("busy")])
        stage = self.stage(one)
        stage.accept()
        done(stage.spool.admin.edit(Selection(ids=("M1",)), Edit(action="retry", who="ops")))
        self.assertEqual(len(one.sent), 2)

    def test_success_costs_no_claim_under_load(self) -> None:
        """While others are under way and nothing waits, a delivered mail asks the spool for nothing."""
        one = ScriptedProvider("one", [defer.Deferred()])
        stage = self.stage(one)
        stage.accept()
        asked = []
        claim = stage.spool.claim
        stage.spool.claim = lambda *limit: asked.append(None) or claim(*limit)  # type: ignore[method-assign]
        stage.accept()
        stage.accept()
        self.assertEqual((len(one.sent), asked), (3, []))

    def test_an_idle_relay_spends_two_commits_on_a_mail(self) -> None:
        """Accept with its claim, and the settlement: nothing is asked for when nothing waits."""
        stage = self.stage()
        asked = []
        claim = stage.spool.claim
        stage.spool.claim = lambda *limit: asked.append(None) or claim(*limit)  # type: ignore[method-assign]
        message = stage.accept()
        self.assertEqual((stage.summary(message).state, asked), ("delivered", []))

    def test_after_a_rush_it_is_quiet_again(self) -> None:
        """When nothing waits for a slot any more, a success asks for nothing though others are under way."""
        answers: list[defer.Deferred[Any]] = [defer.Deferred() for _ in range(4)]
        stage = self.stage(ScriptedProvider("one", answers), rate_limit=RateLimit(concurrency=2))
        for _ in range(4):
            stage.accept()
        answers[0].callback(Delivered())
        answers[1].callback(Delivered())
        asked = []
        claim = stage.spool.claim
        stage.spool.claim = lambda *limit: asked.append(None) or claim(*limit)  # type: ignore[method-assign]
        answers[2].callback(Delivered())
        self.assertEqual(asked, [])

    def test_a_bug_in_an_attempt_does_not_stop_the_loop(self) -> None:
        """What waits for the slot that was free before it goes on."""

        class Breaking(Recording):
            def __call__(self, event: str, /, **fields: object) -> None:
                super().__call__(event, **fields)
                if event == "attempt.ended" and len(self.of(event)) == 1:
                    raise ZeroDivisionError

        answer: defer.Deferred[Any] = defer.Deferred()
        one = ScriptedProvider("one", [answer])
        stage = self.stage(one, rate_limit=RateLimit(concurrency=1), events=Breaking())
        stage.accept()
        stage.accept()
        answer.callback(Delivered())
        self.assertEqual(len(one.sent), 2)
        self.assertIn("ZeroDivisionError", str(stage.events.of("attempt.crashed")[0]["exc"]))


class AskingTests(DispatcherTestCase):
    """The spool takes its time; so it is with every real one."""

    def setUp(self) -> None:
        self.one = ScriptedProvider("one")
        stage = self.stage(self.one)
        self.asked: list[defer.Deferred[None]] = []
        real = stage.spool.claim

        async def claim() -> Any:
            self.asked.append(defer.Deferred())
            await self.asked[-1]
            return await real()

        stage.spool.claim = claim  # type: ignore[method-assign,assignment]

    def test_kicks_while_it_asks_are_one_more_question(self) -> None:
        """At most one is under way, and what came after it began is not forgotten."""
        for _ in range(5):
            self.staged.dispatcher.take(())
        self.assertEqual(len(self.asked), 1)
        self.asked[0].callback(None)
        self.assertEqual(len(self.asked), 2)
        self.asked[1].callback(None)
        self.assertEqual(len(self.asked), 2)

    def test_who_waits_for_a_slot_is_asked_for_with_the_settlement(self) -> None:
        """The question goes to the spool behind the outcome, before that and the last one are answered."""
        answer: defer.Deferred[Any] = defer.Deferred()
        self.one.answers.append(answer)
        order: list[str] = []
        settling: defer.Deferred[None] = defer.Deferred()
        spool = self.staged.spool
        settle, claim = spool.settle, spool.claim

        async def settle_late(*arguments: Any) -> Any:
            order.append("settle")
            await settling
            return await settle(*arguments)

        async def claim_noted() -> Any:
            order.append("claim")
            return await claim()

        spool.settle, spool.claim = settle_late, claim_noted  # type: ignore[method-assign,assignment]
        self.staged.accept()
        self.staged.dispatcher.take(())
        answer.callback(Delivered())
        self.assertEqual((order, len(self.asked)), (["claim", "settle", "claim"], 2))
        # The older answer comes last, and must not be taken for the newer one.
        for each in (*reversed(self.asked), settling):
            each.callback(None)
        self.assertEqual(
            (order, self.staged.summary("M1").state), (["claim", "settle", "claim"], "delivered")
        )

    def test_what_is_claimed_while_it_stops_is_given_back(self) -> None:
        """The stop waits for that, and nothing is sent."""
        self.staged.spool.listen(lambda _: None)
        done(self.staged.spool.block(Block(provider="one", until=MORNING + 9, reason="x")))
        message = self.staged.accept()
        done(self.staged.spool.block(Block(provider="one")))
        self.staged.dispatcher.take(())
        stopped = self.staged.dispatcher.stop(10)
        self.assertNoResult(stopped)
        self.asked[0].callback(None)
        self.successResultOf(stopped)
        self.assertEqual((self.one.sent, self.staged.summary(message).state), ([], "queued"))

    def test_what_is_claimed_while_its_provider_is_removed_is_given_back(self) -> None:
        """It waits for the provider, or for another one, and is not held: nobody has to release it."""
        self.staged.spool.listen(lambda _: None)
        done(self.staged.spool.block(Block(provider="one", until=MORNING + 9, reason="x")))
        message = self.staged.accept()
        done(self.staged.spool.block(Block(provider="one")))
        dispatcher = self.staged.dispatcher
        dispatcher.take(())
        dispatcher.use(evolve(dispatcher._context, providers={}), dispatcher._end_reports)
        self.asked[0].callback(None)
        self.assertEqual((self.one.sent, self.staged.summary(message).state), ([], "queued"))


class LeaseTests(DispatcherTestCase):
    def test_leases_are_renewed_while_attempts_are_under_way(self) -> None:
        """All of them together, three times in a lease; with nothing under way there is no timer."""
        answer: defer.Deferred[Any] = defer.Deferred()
        one = ScriptedProvider("one", [answer, defer.Deferred()])
        stage = self.stage(one)
        renewed: list[list[str]] = []
        real = stage.spool.renew

        async def renew(claims: Any) -> None:
            renewed.append([claim.delivery.id for claim in claims])
            await real(claims)

        stage.spool.renew = renew  # type: ignore[method-assign]
        stage.accept()
        stage.accept()
        stage.clock.advance(20)
        answer.callback(Delivered())
        stage.clock.advance(20)
        self.assertEqual(renewed, [["M1.1", "M2.1"], ["M2.1"]])

    def test_an_idle_dispatcher_has_no_timer(self) -> None:
        """Nothing is polled."""
        stage = self.stage()
        stage.accept()
        self.assertEqual(stage.clock.getDelayedCalls(), [])
