"""A lane that does not run keeps its mail, or lets it go elsewhere."""

from typing import Any

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Block, Settlement
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import Blocked, Uncertain
from smtprelay.model.queue import (
    ASKED_TO_WAIT,
    SUSPENDED,
    DueSelection,
    Edit,
    LaneState,
    Selection,
    Unreachable,
)
from smtprelay.model.queue_admin import Prepared
from tests.behaviours.spool_stories import SpoolStories, done
from tests.listed import listed


class LaneContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    def test_a_blocked_lane_waits_and_is_probed(self):
        """Nothing of a blocked lane is claimed; when its time comes it is offered for a probe."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1)
            await self.send(spool, number=2)
            (claim, _) = (await spool.claim()).claims
            until = self.clock.seconds() + 60
            block = Block(provider="main", until=until, reason="401 the secret has expired")
            await spool.settle(
                claim,
                Settlement(state="queued", outcomes={"anna@example.com": Blocked("401")}, block=block),
            )
            work = await spool.claim()
            self.assertEqual(([], [], until), (list(work.claims), list(work.probes), work.due))
            lines = await listed(spool, Selection(states=("queued",)))
            self.assertEqual(["401 the secret has expired"], [line.waiting_for for line in lines])
            self.clock.advance(60)
            self.assertEqual([("main", "")], list((await spool.claim()).probes))
            await spool.block(Block(provider="main"))
            self.assertEqual(1, len((await spool.claim()).claims))

        return self.play(story)

    def test_a_start_has_blocked_lanes_probed(self):
        """The configuration may be another one: one lane after the other, but for pauses and suspensions."""

        async def story(spool: Spool) -> None:
            for number in range(1, 5):
                await self.send(spool, number=number, provider="other", lane=f"box{number}")
            far = self.clock.seconds() + 3600
            for lane, reason in (
                ("box1", "401"),
                ("box2", f"{ASKED_TO_WAIT}: 503"),
                ("box3", "401"),
                ("box4", "401"),
            ):
                await spool.block(Block(provider="other", lane=lane, until=far, reason=reason))
            await spool.block(
                Block(provider="main", until=SUSPENDED, reason="suspended by anna", operator=True)
            )
            await spool.recover()
            self.assertEqual([("other", "box1")], list((await spool.claim()).probes))
            self.clock.advance(0.6)
            probes = [("other", "box1"), ("other", "box3"), ("other", "box4")]
            self.assertEqual(probes, list((await spool.claim()).probes))
            lanes = {each.lane or each.provider: each for each in (await spool.admin.stats()).lanes}
            self.assertEqual(far, lanes["box2"].blocked_until)
            self.assertTrue(lanes["main"].suspended)

        return self.play(story)

    def test_the_lanes_of_a_suspended_provider_are_not_probed(self):
        """To probe one of its lanes is to ask the provider, and that waits until it is resumed."""

        async def story(spool: Spool) -> None:
            await self.send(spool, provider="other", lane="box")
            now = self.clock.seconds()
            await spool.block(Block(provider="other", lane="box", until=now + 60, reason="401"))
            suspension = Block(provider="other", until=SUSPENDED, reason="by anna", operator=True)
            await spool.block(suspension)
            self.clock.advance(60)
            work = await spool.claim()
            self.assertEqual(([], [("other", "")]), (list(work.probes), list(work.suspended)))
            await spool.block(Block(provider="other", operator=True))
            self.assertEqual([("other", "box")], list((await spool.claim()).probes))

        return self.play(story)

    def test_what_keeps_the_mail_of_a_lane(self):
        """A lane is ``ok`` only if its mail can go: what stops its provider stops it, too."""

        async def story(spool: Spool) -> None:
            await self.send(spool, provider="other", lane="box")
            await self.send(spool, provider="gone", number=2)
            far = self.clock.seconds() + 3600

            async def state(provider: str = "other", lane: str = "box") -> str:
                lanes = await spool.admin.lanes()
                return {(each.provider, each.lane): each.state for each in lanes}.get((provider, lane), "")

            self.assertEqual("removed", await state("gone", ""))
            (line,) = await listed(spool, Selection(provider="gone"))
            self.assertEqual(f"smtprelay queue reroute {line.id} --provider NAME", line.try_now)
            self.assertEqual("ok", await state())
            await spool.admin.note_reachability(
                "other", Unreachable("other", 5.0, "h:25", "connect", "refused")
            )
            self.assertEqual("unreachable", await state())
            await spool.block(Block(provider="other", until=far, reason="401"))
            self.assertEqual("blocked", await state())
            await spool.block(Block(provider="other", until=SUSPENDED, reason="by anna", operator=True))
            self.assertEqual("suspended", await state())
            await spool.admin.edit(Selection(provider="gone"), Edit(action="delete", who="ops"))
            self.assertEqual("", await state("gone", ""))

        return self.play(story)

    def test_how_to_try_a_blocked_lane(self):
        """What waits in it says the command: for the lane, or for its provider if that is blocked, too."""

        async def story(spool: Spool) -> None:
            await self.send(spool, provider="other", lane="box")
            far = self.clock.seconds() + 3600

            async def told(lane: str, reason: str, until: float = far) -> str:
                block = Block(provider="other", lane=lane, until=until, reason=reason, operator=True)
                await spool.block(block)
                (line,) = await listed(spool, Selection())
                return line.try_now

            (line,) = await listed(spool, Selection())
            self.assertEqual("", line.try_now)
            self.assertEqual("smtprelay providers probe other box", await told("box", "401"))
            self.assertEqual("smtprelay providers probe other", await told("", "403"))
            paused = await told("", f"{ASKED_TO_WAIT}: 503")
            self.assertEqual("smtprelay providers probe other --force", paused)
            self.assertEqual("smtprelay providers resume other", await told("", "by anna", SUSPENDED))

        return self.play(story)

    def test_blocked_time_does_not_age_a_message(self):
        """The age that expiry is judged by leaves out the time its lane was blocked."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            self.clock.advance(10)
            await spool.block(Block(provider="main", until=self.clock.seconds() + 50, reason="host unknown"))
            self.clock.advance(86400)
            await spool.block(Block(provider="main"))
            self.clock.advance(5)
            (claim,) = (await spool.claim()).claims
            self.assertEqual(15.0, claim.age)

        return self.play(story)

    def test_blocked_time_is_kept_over_a_failover(self):
        """What a delivery waited in a blocked lane does not age it in the next one either."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            await spool.block(Block(provider="other", until=9e9, reason="down"))
            await spool.block(Block(provider="main", until=9e9, reason="down"))
            self.clock.advance(1000)
            await spool.block(Block(provider="other"))
            await spool.settle(claim, Settlement(state="queued", outcomes={}, provider="other"))
            self.clock.advance(7)
            (again,) = (await spool.claim()).claims
            self.assertEqual(7.0, again.age)

        return self.play(story)

    def test_mail_that_waits_for_its_operator_does_not_age(self):
        """Neither in the lane that it goes to, nor in another spool; mail of a mailbox that is gone does."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            for lane, expected in (("setup:x.org", 5.0), ("box", 1012.0)):
                block = Block(provider="main", lane=lane, until=9e9, reason="not verified")
                moved = Settlement(state="queued", outcomes={}, provider="main", lane=lane, block=block)
                await spool.settle(claim, moved)
                self.clock.advance(1000)
                (exported,) = (await spool.archive.export(Selection())).items
                self.assertEqual(1000.0, exported.archived.deliveries[0].blocked)
                await spool.block(Block(provider="main", lane=lane))
                self.clock.advance(5 if lane != "box" else 7)
                (claim,) = (await spool.claim()).claims
                self.assertEqual((lane, expected), (claim.delivery.lane, claim.age))

        return self.play(story)

    def test_a_blocked_key_leaves_the_others_alone(self):
        """Blocking one mailbox of a provider stops that lane and no other."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1, provider="other", lane="bad")
            await self.send(spool, number=2, provider="other", lane="good")
            await spool.block(Block(provider="other", lane="bad", until=9e9, reason="no such mailbox"))
            work = await spool.claim()
            self.assertEqual(["good"], [claim.delivery.lane for claim in work.claims])

        return self.play(story)

    def test_a_suspension_ends_by_itself(self):
        """Until its time it is told and nothing goes, not even by a probe; then everything goes."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            end = self.clock.seconds() + 60
            await spool.block(self.suspension(duration=60.0))
            await spool.block(Block(provider="main"))  # no operator's
            work = await spool.claim()
            self.assertEqual(([], [], end), (list(work.claims), list(work.probes), work.due))
            lane = await self.main_lane(spool)
            self.assertEqual((True, end, None), (lane.suspended, lane.resumes, lane.blocked_until))
            self.clock.advance(60)
            self.assertEqual(1, len((await spool.claim()).claims))
            lane = await self.main_lane(spool)
            self.assertEqual((False, None, ""), (lane.suspended, lane.resumes, lane.blocked_reason))

        return self.play(story)

    def test_the_last_suspension_counts(self):
        """One with an end after one without ends; one without an end after one with an end does not."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            await spool.block(self.suspension(duration=60.0))
            await spool.block(self.suspension())
            self.clock.advance(60)
            self.assertEqual([], list((await spool.claim()).claims))
            await spool.block(self.suspension(duration=60.0))
            self.clock.advance(60)
            self.assertEqual(1, len((await spool.claim()).claims))

        return self.play(story)

    async def main_lane(self, spool: Spool) -> LaneState:
        (lane,) = [each for each in (await spool.admin.stats()).lanes if each.provider == "main"]
        return lane

    def suspension(self, duration: float | None = None) -> Block:
        return Block(provider="main", until=SUSPENDED, reason="by ops", operator=True, duration=duration)

    def test_on_trial_one_goes_alone(self):
        """A lane opened on trial lets one delivery through; its success opens it for all."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number)
            await spool.block(Block(provider="main", trial=True))
            (claim,) = (await spool.claim()).claims
            self.assertEqual([], list((await spool.claim()).claims))
            await spool.settle(claim, done(claim))
            self.assertEqual(2, len((await spool.claim()).claims))

        return self.play(story)

    def test_a_blocked_provider_does_not_age_the_mail_of_its_lanes(self):
        """The time for which the whole provider was blocked is left out of the age in each of its lanes."""

        async def story(spool: Spool) -> None:
            await self.send(spool, provider="other", lane="box")
            await spool.block(Block(provider="other", until=9e9, reason="the secret has expired"))
            self.clock.advance(86400)
            await spool.block(Block(provider="other"))
            self.clock.advance(5)
            (claim,) = (await spool.claim()).claims
            self.assertEqual(5.0, claim.age)

        return self.play(story)

    def test_a_lane_ends_the_trial_of_its_provider(self):
        """A provider on trial is open for all when a mail in any of its lanes got an answer."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number, provider="other", lane=f"box{number}")
            await spool.block(Block(provider="other", trial=True))
            (claim,) = (await spool.claim()).claims
            await spool.settle(claim, done(claim))
            self.assertEqual(2, len((await spool.claim()).claims))

        return self.play(story)

    def test_what_got_no_answer_proves_nothing(self):
        """A trial goes on, one mail at a time, until one has been answered."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number)
            await spool.block(Block(provider="main", trial=True))
            (claim,) = (await spool.claim()).claims
            lost = Settlement(state="held", outcomes={"anna@example.com": Uncertain("cut")})
            await spool.settle(claim, lost)
            self.assertEqual(1, len((await spool.claim()).claims))

        return self.play(story)

    # --- the way round them ---

    async def go_round(self, spool: Spool, onward: Any = lambda _: ("other", "box"), **changes: Any) -> int:
        """Lead what waits in the provider ``main`` to the lane ``box`` of the other."""
        usual: dict[str, Any] = {"provider": "main", "lane": "", "routes": ("r",), "limit": 2}
        selection = DueSelection(**{**usual, "until": self.clock.seconds() + 10, **changes})
        change = Edit(action="reroute", who="the relay", why="main does not run", force=True)

        async def prepare(delivery: Delivery, _edit: Edit) -> Prepared:
            place = onward(delivery)
            return Prepared(provider=place[0], lane=place[1]) if place else Prepared(refusal="nowhere")

        step = await spool.admin.edit(selection, change, "", prepare)
        count = step.count
        while step.mark:
            step = await spool.admin.edit(selection, change, step.mark, prepare)
            count += step.count
        return count

    async def places(self, spool: Spool) -> list[tuple[str, str]]:
        return [(line.provider, line.lane) for line in await listed(spool, Selection())]

    def test_waiting_mail_goes_round_a_blocked_lane(self):
        """All that is due goes on in the other lane, in steps, in its order, and can be claimed there."""

        async def story(spool: Spool) -> None:
            for number in range(1, 6):
                await self.send(spool, number=number)
            await spool.block(Block(provider="main", until=9e9, reason="401"))
            work = await spool.claim()
            self.assertEqual(([], [("main", "")]), (list(work.claims), list(work.stopped)))
            self.assertEqual(5, await self.go_round(spool))
            work = await spool.claim()
            self.assertEqual([], list(work.stopped))
            (claim,) = work.claims
            self.assertEqual(self.draft(number=1).id, claim.delivery.message)
            self.assertEqual(("other", "box"), (claim.delivery.provider, claim.delivery.lane))
            lines = await listed(spool, Selection(states=("queued",)))
            self.assertEqual(
                {"rerouted from main by the relay: main does not run"}, {line.reason for line in lines}
            )

        return self.play(story)

    def test_only_what_may_go_elsewhere_is_moved(self):
        """Not mail of other routes, not what is not due, under way, uncertain, or has no other place."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3, 4):
                await self.send(spool, number=number)
            first, second = (await spool.claim()).claims
            self.clock.advance(1)
            later = self.clock.seconds() + 30
            await spool.settle(first, Settlement(state="deferred", outcomes={}, due=later))
            await spool.settle(second, Settlement(state="queued", outcomes={}, uncertain=True))
            (third,) = (await spool.claim(limit=1)).claims
            self.assertEqual(0, await self.go_round(spool, routes=("s",)))
            self.assertEqual(0, await self.go_round(spool, onward=lambda _delivery: None))
            self.assertEqual(1, await self.go_round(spool))
            self.assertTrue(await spool.settle(third, done(third)))
            self.assertEqual([("main", "")] * 2 + [("other", "box")], sorted(await self.places(spool)))
            self.assertEqual(1, await self.go_round(spool, lost=("r",)))

        return self.play(story)

    def test_nothing_goes_into_a_lane_that_is_blocked(self):
        """Neither into the lane itself nor into any lane of a provider that is blocked."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            for lane in ("box", ""):
                await spool.block(Block(provider="other", lane=lane, until=9e9, reason="down"))
                self.assertEqual(0, await self.go_round(spool))
                await spool.block(Block(provider="other", lane=lane))
            self.assertEqual(1, await self.go_round(spool))

        return self.play(story)

    def test_all_lanes_of_a_provider_are_left(self):
        """One key names one lane; the provider's own name them all."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number, provider="other", lane=f"box{number}")
            changes = {"provider": "other", "onward": lambda _delivery: ("main", "")}
            self.assertEqual(1, await self.go_round(spool, lane="box2", **changes))
            self.assertEqual(2, await self.go_round(spool, limit=1, **changes))
            self.assertEqual({("main", "")}, set(await self.places(spool)))

        return self.play(story)

    def test_what_the_relay_reroutes_keeps_its_place(self):
        """Its history says that it was no operator; it is no new operation, and its errors still count."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            due = self.clock.seconds() + 5
            later = Settlement(state="deferred", outcomes={}, due=due, tries=2, errors=2, counts=True)
            await spool.settle(claim, later)
            self.assertEqual(0, await self.go_round(spool))
            self.clock.advance(60)
            self.assertEqual(1, await self.go_round(spool))
            (detail,) = await spool.admin.show(claim.delivery.message)
            self.assertEqual(("deferred", due), (detail.summary.state, detail.summary.due))
            act = detail.history[-1]
            self.assertEqual(
                ("reroute", "main", "to other, by the relay: main does not run"),
                (act.outcome, act.provider, act.reason),
            )
            (again,) = (await spool.claim()).claims
            self.assertEqual(claim.delivery.operation_id, again.delivery.operation_id)
            self.assertEqual((0, 2, 1), (again.tries, again.errors, again.deferrals))

        return self.play(story)

    def test_what_was_looked_at_is_not_looked_at_again(self):
        """A search from a moment on sees what has become due since, and nothing older."""
        seen: list[str] = []

        def look(delivery: Delivery) -> None:
            seen.append(delivery.message)

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1)
            self.clock.advance(10)
            now = self.clock.seconds()
            await self.send(spool, number=2)
            await self.go_round(spool, since=now, onward=look)
            self.assertEqual([self.draft(number=2).id], seen)

        return self.play(story)

    def test_what_was_waited_in_vain_is_kept(self):
        """The time in the blocked lane does not age a mail after it has left."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            await spool.block(Block(provider="main", until=9e9, reason="401"))
            self.clock.advance(1000)
            await self.go_round(spool)
            self.clock.advance(7)
            (claim,) = (await spool.claim()).claims
            self.assertEqual(7.0, claim.age)

        return self.play(story)
