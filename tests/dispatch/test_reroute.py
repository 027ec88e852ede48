from collections.abc import Sequence
from typing import Any

from twisted.internet import defer

from smtprelay.model.attempt import Block
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Uncertain
from smtprelay.model.queue import Edit, Node, Selection
from smtprelay.model.route import Limits, RateLimit, Route
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import MORNING, DispatcherTestCase, Stage, done
from tests.listed import listed


class BlockedLaneTests(DispatcherTestCase):
    def blocked(self, *providers: ScriptedProvider, waiting: int = 5, **more: Any) -> Stage:
        """A relay whose first provider turns out to be blocked while mails wait for its only slot."""
        answer: defer.Deferred[Any] = defer.Deferred()
        providers[0].answers.append(answer)
        stage = self.stage(*providers, rate_limit=RateLimit(concurrency=1), **more)
        for _ in range(1 + waiting):
            stage.accept()
        answer.callback(Blocked("401 expired"))
        return stage

    def test_what_waits_goes_elsewhere_at_once(self) -> None:
        """Not only the mail that found the lane blocked; none of them is bounced, and it is told once."""
        one, two = ScriptedProvider("one"), ScriptedProvider("two")
        stage = self.blocked(one, two)
        self.assertEqual((len(one.sent), len(two.sent)), (1, 6))
        self.assertEqual((stage.waiting(), stage.posted), ([], []))
        self.assertEqual(
            stage.events.of("relay.warning"), [{"text": "one does not run: 5 deliveries go on elsewhere"}]
        )

    def test_new_mail_goes_elsewhere_too(self) -> None:
        """As long as the lane is blocked; then the first provider gets it again."""
        one, two = ScriptedProvider("one"), ScriptedProvider("two")
        one.verdicts.append(Delivered())
        stage = self.blocked(one, two, waiting=0)
        stage.accept()
        self.assertEqual((len(one.sent), len(two.sent)), (1, 2))
        stage.clock.advance(30)
        stage.accept()
        self.assertEqual((len(one.sent), len(two.sent)), (2, 2))

    def test_without_another_provider_it_waits(self) -> None:
        """And the spool is not searched for what cannot move."""
        one = ScriptedProvider("one")
        one.verdicts.append(Delivered())
        moves = []
        answer: defer.Deferred[Any] = defer.Deferred()
        one.answers.append(answer)
        stage = self.stage(one, rate_limit=RateLimit(concurrency=1))
        real = stage.spool.admin.edit
        stage.spool.admin.edit = lambda *a: moves.append(a) or real(*a)  # type: ignore[method-assign]
        stage.accept()
        stage.accept()
        answer.callback(Blocked("401"))
        self.assertEqual((len(one.sent), len(stage.waiting()), moves), (1, 2, []))
        stage.clock.advance(30)
        self.assertEqual((len(one.sent), stage.waiting()), (3, []))

    def test_each_mail_goes_where_it_fits(self) -> None:
        """One that no other provider takes waits, and is looked at once, not with each new mail."""
        one, two = ScriptedProvider("one"), ScriptedProvider("two", limits=Limits(size=100))
        stage = self.blocked(one, two, waiting=0)
        large = stage.accept(body=b"Subject: x\r\n\r\n" + b"x" * 200)
        stage.clock.advance(15)
        stage.accept()
        looked: list[str] = []
        real = stage.spool.admin.edit

        async def edit(selection: Any, change: Edit, mark: str, prepare: Any) -> Any:
            async def look(delivery: Delivery, change: Edit) -> Any:
                looked.append(delivery.message)
                return await prepare(delivery, change)

            return await real(selection, change, mark, look)

        stage.spool.admin.edit = edit  # type: ignore[method-assign,assignment]
        stage.accept()
        self.assertEqual([line.message for line in stage.waiting()], [large])
        self.assertEqual((len(two.sent), looked), (3, ["M4"]))

    def test_when_another_provider_works_again_it_is_tried_again(self) -> None:
        """Both were blocked; the mail that waits in the first goes to the second when that opens."""
        one, two = ScriptedProvider("one"), ScriptedProvider("two", [Blocked("down")])
        one.verdicts.append(Blocked("401"))
        two.verdicts.append(Delivered())
        stage = self.blocked(one, two, waiting=2)
        self.assertEqual(len(stage.waiting()), 3)
        stage.clock.advance(30)
        self.assertEqual(stage.waiting(), [])
        self.assertEqual(len(one.sent), 1)

    def test_too_large_where_it_was_led(self) -> None:
        """A reroute is no attempt: the provider that it left is asked before the mail fails as too large."""
        one, two = ScriptedProvider("one"), ScriptedProvider("two")
        answer: defer.Deferred[Any] = defer.Deferred()
        two.answers += [Delivered(), answer]
        one.verdicts.append(Delivered())
        stage = self.blocked(one, two, waiting=1)
        stage.clock.advance(30)
        answer.callback(Failed("413 too large", "5.3.4"))
        stage.clock.advance(3600)
        self.assertEqual((stage.summary("M2").state, stage.posted), ("delivered", []))
        self.assertEqual((len(one.sent), len(two.sent)), (2, 2))

    def test_a_pause_is_waited_for(self) -> None:
        """Retry-After is no reason to leave a provider."""
        answer: defer.Deferred[Any] = defer.Deferred()
        one, two = ScriptedProvider("one", [answer]), ScriptedProvider("two")
        stage = self.stage(one, two, rate_limit=RateLimit(concurrency=1))
        stage.accept()
        stage.accept()
        answer.callback(Deferred("429", retry_after=60.0))
        self.assertEqual((len(stage.waiting()), two.sent), (2, []))

    def test_what_is_uncertain_stays(self) -> None:
        """It is resolved where it was sent, and is not sent elsewhere before."""
        answer: defer.Deferred[Any] = defer.Deferred()
        one, two = ScriptedProvider("one", [Uncertain("cut"), answer]), ScriptedProvider("two")
        one.verdicts.append(Delivered())
        one.resolutions.append(Delivered("7"))
        stage = self.stage(one, two)
        first = stage.accept()
        stage.accept()
        answer.callback(Blocked("401"))
        stage.clock.advance(10)
        self.assertEqual([delivery.message for delivery, _ in two.sent], ["M2"])
        stage.clock.advance(20)
        self.assertEqual(stage.summary(first).state, "delivered")
        self.assertEqual(len(two.sent), 1)

    def test_a_failing_spool_is_asked_again(self) -> None:
        """A step that could not be committed is repeated, and nothing is moved twice."""
        one, two = ScriptedProvider("one"), ScriptedProvider("two")
        answer: defer.Deferred[Any] = defer.Deferred()
        one.answers.append(answer)
        stage = self.stage(one, two, rate_limit=RateLimit(concurrency=1))
        stage.accept()
        stage.accept()
        real, calls = stage.spool.admin.edit, []

        async def edit(*step: Any) -> Any:
            calls.append(step)
            if len(calls) == 1:
                raise OSError("disk on fire")
            return await real(*step)

        stage.spool.admin.edit = edit  # type: ignore[method-assign,assignment]
        answer.callback(Blocked("401"))
        stage.clock.advance(2)
        self.assertEqual((stage.waiting(), len(two.sent)), ([], 2))
        self.assertEqual(stage.events.of("spool.failed")[0]["operation"], "reroute")

    def test_what_comes_in_meanwhile_is_not_forgotten(self) -> None:
        """Mail that is accepted while a step is under way is looked for when that has ended."""
        one, two = ScriptedProvider("one"), ScriptedProvider("two", limits=Limits(size=100))
        stage = self.blocked(one, two, waiting=0)
        real, step = stage.spool.admin.edit, defer.Deferred()
        found: list[int] = []

        async def edit(*arguments: Any) -> Any:
            moved = await real(*arguments)
            found.append(moved.count)
            if len(found) == 1:
                await step
            return moved

        stage.spool.admin.edit = edit  # type: ignore[method-assign,assignment]
        large = stage.accept(body=b"Subject: x\r\n\r\n" + b"x" * 200)
        small = stage.accept()
        self.assertEqual((found, len(stage.waiting())), ([0], 2))
        step.callback(None)
        self.assertEqual(found[:2], [0, 1])
        self.assertEqual([stage.summary(each).state for each in (large, small)], ["queued", "delivered"])

    def test_a_stop_ends_it_between_two_steps(self) -> None:
        """What was not moved yet waits where it is."""
        one, two = ScriptedProvider("one"), ScriptedProvider("two")
        answer: defer.Deferred[Any] = defer.Deferred()
        one.answers.append(answer)
        stage = self.stage(one, two, rate_limit=RateLimit(concurrency=1))
        for _ in range(300):
            stage.accept()
        real, steps = stage.spool.admin.edit, [defer.Deferred(), defer.Deferred()]
        asked = []

        async def edit(*step: Any) -> Any:
            asked.append(step)
            await steps[len(asked) - 1]
            return await real(*step)

        stage.spool.admin.edit = edit  # type: ignore[method-assign,assignment]
        answer.callback(Blocked("401"))
        stopped = stage.dispatcher.stop(10)
        steps[0].callback(None)
        self.successResultOf(stopped)
        self.assertEqual(len(asked), 1)
        self.assertEqual(sum(line.provider == "one" for line in stage.waiting()), 199)


class GoneProviderTests(DispatcherTestCase):
    def test_mail_that_waits_for_a_provider_that_is_gone_goes_to_the_next(self) -> None:
        """Also what is uncertain, which nobody can resolve any more, where the route says resend."""
        self.staged = stage = Stage(
            [ScriptedProvider("two")],
            [
                Route(name="default", via=("one", "two")),
                Route(name="careful", via=("two",), on_uncertain="hold"),
                Route(name="alone", via=("one",)),
            ],
        )
        self.addCleanup(self.stop)
        for route in ("default", "careful", "alone"):
            stage.accept(route=route)
        self.make_uncertain(stage)
        stage.start()
        self.assertEqual([delivery.route for delivery, _ in stage.providers["two"].sent], ["default"])
        self.assertEqual({line.route for line in stage.waiting()}, {"careful", "alone"})
        self.assertIn("not configured", stage.waiting()[0].waiting_for)

    def test_what_is_released_later_goes_to_the_next_too(self) -> None:
        """An operator held it when its provider was still there; nothing else has to happen then."""
        self.staged = stage = Stage([ScriptedProvider("two")], [Route(name="default", via=("two",))])
        self.addCleanup(self.stop)
        first, second = stage.accept(), stage.accept()
        self.edit(stage, "hold", first, second)
        stage.start()
        stage.clock.advance(100)
        self.edit(stage, "release", first)
        self.assertEqual(stage.summary(first).state, "delivered")
        stage.clock.advance(1)
        self.edit(stage, "release", second)
        stage.clock.advance(30)
        self.assertEqual(stage.summary(second).state, "delivered")
        self.assertEqual(stage.clock.getDelayedCalls(), [])

    def test_what_other_nodes_may_have(self) -> None:
        """A provider that came with their new configuration is none that is gone."""
        self.staged = stage = Stage([ScriptedProvider("two")], [Route(name="default", via=("two",))])
        self.addCleanup(self.stop)

        async def nodes() -> Sequence[Node]:
            return [Node(name=name, seen=MORNING, draining=False) for name in ("here", "there")]

        stage.spool.admin.nodes = nodes  # type: ignore[method-assign]
        stage.start()
        message = stage.accept()
        stage.clock.advance(100)
        stage.accept(provider="two")
        stage.dispatcher.take(())
        self.assertEqual((stage.summary(message).provider, stage.summary(message).state), ("one", "queued"))

    def edit(self, stage: Stage, action: str, *messages: str) -> None:
        done(stage.spool.admin.edit(Selection(ids=messages), Edit(action=action, who="ops")))

    def make_uncertain(self, stage: Stage) -> None:
        stage.spool._writer.writer.connection.execute("UPDATE delivery SET uncertain = 1")

    def test_a_lane_blocked_before_the_start_is_left_after_its_probe(self) -> None:
        """What the spool knows and this process does not yet loses no mail."""
        one, two = ScriptedProvider("one"), ScriptedProvider("two")
        one.verdicts.append(Blocked("401"))
        self.staged = stage = Stage([one, two], [Route(name="default", via=("one", "two"))])
        self.addCleanup(self.stop)
        stage.accept()
        done(stage.spool.block(Block(provider="one", until=stage.clock.seconds() + 9, reason="401")))
        stage.start()
        self.assertEqual(len(done(listed(stage.spool, Selection()))), 1)
        stage.clock.advance(9)
        self.assertEqual((stage.waiting(), len(one.sent), len(two.sent)), ([], 0, 1))
