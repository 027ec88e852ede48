"""What was under way when its relay died goes again alone, and a mail that is the reason is held."""

import random
from collections.abc import Callable, Sequence

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Block, Busy, Claim, Feedback, Permit, Settlement
from smtprelay.model.message import Planned
from smtprelay.model.outcome import Deferred
from smtprelay.model.queue import Edit, Selection
from smtprelay.model.route import RateLimit, Window
from smtprelay.spool.operations.suspects import MOST_ALONE, PATIENCE, PAUSE
from tests.behaviours.spool_stories import SpoolStories, done
from tests.listed import listed

ROOMY = {"main": RateLimit(concurrency=20), "other": RateLimit(concurrency=20)}


class SuspectContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    async def under_way(self, spool: Spool, numbers: Sequence[int], **place: str) -> Sequence[Claim]:
        """Send and claim messages with these numbers."""
        for number in numbers:
            await self.send(spool, number=number, **place)
        claims = (await spool.claim()).claims
        self.assertEqual(len(numbers), len(claims))
        return claims

    async def die(self, spool: Spool) -> int:
        """Have the relay end, and begin anew."""
        return await spool.recover()

    def ids(self, *numbers: int) -> list[str]:
        return [self.draft(number=number).id for number in numbers]

    def test_one_at_a_time_and_nothing_beside_it(self):
        """While one is under way nothing else begins, whether it waits or has just come in."""

        async def story(spool: Spool) -> None:
            begun: list[Claim] = []
            await self.under_way(spool, [1, 2])
            await self.die(spool)
            (first,) = (await spool.claim()).claims
            self.assertTrue(first.uncertain)
            spool.listen(begun.extend)
            await self.send(spool, number=3)
            work = await spool.claim()
            self.assertEqual(([], [], True), (begun, list(work.claims), work.waiting))
            await spool.settle(first, done(first))
            work = await spool.claim()
            self.assertEqual(self.ids(3), [each.delivery.message for each in work.claims])
            self.assertTrue(work.waiting)
            await spool.settle(work.claims[0], done(work.claims[0]))
            (second,) = (await spool.claim()).claims
            self.assertEqual(
                sorted(self.ids(1, 2)), sorted([first.delivery.message, second.delivery.message])
            )
            await spool.settle(second, done(second))
            self.assertEqual([], list(await listed(spool, Selection())))

        return self.play(story)

    def test_nothing_beside_one_before_many_that_wait(self):
        """However many suspects wait, the one under way is seen."""

        async def story(spool: Spool) -> None:
            draft = self.draft(*(f"a{number}@example.com" for number in range(502)))
            planned = [
                Planned(route="r", provider="main", lane="", recipients=(each,))
                for each in draft.envelope.recipients
            ]
            await spool.accept(draft, b"x", planned)
            self.assertEqual(502, len((await spool.claim(limit=1000)).claims))
            await self.die(spool)
            (claim,) = (await spool.claim()).claims
            await self.send(spool, number=2)
            work = await spool.claim()
            self.assertEqual(([], True), (list(work.claims), work.waiting))
            await spool.settle(claim, done(claim))
            work = await spool.claim()
            self.assertEqual(self.ids(2), [each.delivery.message for each in work.claims])

        return self.play(story, {"main": RateLimit(concurrency=1000)})

    def test_one_behind_many_in_a_stopped_lane(self):
        """However many wait in a lane that is stopped, that of another one goes."""

        async def story(spool: Spool) -> None:
            draft = self.draft(*(f"a{number}@example.com" for number in range(502)))
            planned = [
                Planned(route="r", provider="main", lane="box", recipients=(each,))
                for each in draft.envelope.recipients
            ]
            await spool.accept(draft, b"x", planned)
            self.assertEqual(502, len((await spool.claim(limit=2000)).claims))
            await self.under_way(spool, [2], provider="other")
            await self.die(spool)
            await spool.admin.block(Block(provider="main", lane="box", until=5000.0, reason="535"))
            (claim,) = (await spool.claim()).claims
            self.assertEqual(self.ids(2), [claim.delivery.message])
            await spool.settle(claim, done(claim))
            await spool.admin.block(Block(provider="main", lane="box"))
            (claim,) = (await spool.claim()).claims
            self.assertEqual(self.ids(1), [claim.delivery.message])

        rates = {"main": RateLimit(concurrency=1000, per_lane=1000), "other": RateLimit()}
        return self.play(story, rates)

    def test_the_rest_goes_first(self):
        """What never was under way at a death does not wait for what was."""

        async def story(spool: Spool) -> None:
            await self.under_way(spool, [1, 2])
            await self.send(spool, number=3)
            await self.send(spool, number=4, provider="other")
            await self.die(spool)
            work = await spool.claim()
            self.assertEqual(self.ids(3, 4), sorted(each.delivery.message for each in work.claims))
            self.assertEqual((True, 1000.0 + PATIENCE), (work.waiting, work.due))
            line = next(each for each in await listed(spool, Selection()) if each.message == self.ids(1)[0])
            self.assertIn("alone", line.waiting_for)

        return self.play(story)

    def test_two_deaths_alone_and_it_is_held(self):
        """It says so, keeps its body, and goes again when an operator releases it."""

        async def story(spool: Spool) -> None:
            await self.under_way(spool, [1, 2])
            await self.die(spool)
            name = ""
            for _ in range(2):
                claims = list((await spool.claim()).claims)
                while claims and claims[0].delivery.message != self.ids(2)[0]:
                    await spool.settle(claims[0], done(claims[0]))
                    claims = list((await spool.claim()).claims)
                (killer,) = claims
                self.assertEqual(0, killer.errors)
                name = killer.delivery.id
                self.assertEqual([], list((await spool.admin.stats()).crash_loops))
                self.assertEqual(1, await self.die(spool))
            (line,) = await listed(spool, Selection())
            self.assertEqual((name, "held", True), (line.id, line.state, line.uncertain))
            self.assertIn("crash_loop", line.reason)
            self.assertEqual([name], list((await spool.admin.stats()).crash_loops))
            work = await spool.claim()
            self.assertEqual((0, False, None), (len(work.claims), work.waiting, work.due))
            await spool.admin.edit(Selection(ids=(line.message,)), Edit(action="release", who="ops"))
            self.assertEqual([], list((await spool.admin.stats()).crash_loops))
            (again,) = (await spool.claim()).claims
            self.assertTrue(await spool.settle(again, done(again)))

        return self.play(story)

    def test_an_only_mail_is_alone_from_the_beginning(self):
        """Two deaths are enough then."""

        async def story(spool: Spool) -> None:
            await self.under_way(spool, [1])
            await self.die(spool)
            await spool.claim()
            await self.die(spool)
            self.assertEqual(["held"], [line.state for line in await listed(spool, Selection())])

        return self.play(story)

    def test_an_outcome_ends_the_suspicion(self):
        """Only deaths in a row count; whatever an attempt comes to, it was not the end of the relay."""

        async def story(spool: Spool) -> None:
            await self.under_way(spool, [1])
            for _ in range(3):
                await self.die(spool)
                (claim,) = (await spool.claim()).claims
                now = self.clock.seconds()
                later = Settlement(state="deferred", outcomes={"anna@example.com": Deferred("busy")}, due=now)
                await spool.settle(claim, later)
                await spool.claim()
            self.assertEqual(["active"], [line.state for line in await listed(spool, Selection())])

        return self.play(story)

    def test_a_death_in_company_never_holds(self):
        """However often: nothing was alone, so nothing is known."""

        async def story(spool: Spool) -> None:
            permit = await spool.permits.acquire("a synchronous delivery", "other", "")
            assert isinstance(permit, Permit)
            await self.under_way(spool, [1])
            for number in range(5):
                await self.die(spool)
                (claim,) = (await spool.claim()).claims
                # As after a minute, when others may go beside it.
                self.clock.advance(MOST_ALONE)
                permit = await spool.permits.acquire(f"another {number}", "other", "")
                assert isinstance(permit, Permit)
            await spool.settle(claim, done(claim))
            self.assertEqual([], list(await listed(spool, Selection())))

        return self.play(story)

    def test_who_is_given_up_at_a_stop_is_no_suspect(self):
        """The relay did not die; a suspect stays one."""

        async def story(spool: Spool) -> None:
            await self.under_way(spool, [1, 2])
            await spool.release()
            self.assertEqual(2, len((await spool.claim()).claims))
            await self.die(spool)
            await spool.claim()
            await spool.release()
            self.assertEqual(1, len((await spool.claim()).claims))

        return self.play(story)

    def test_what_the_provider_has_holds_up_nobody(self):
        """When the body is over, others begin though the outcome is still to come."""

        async def story(spool: Spool) -> None:
            await self.under_way(spool, [1])
            await self.die(spool)
            (claim,) = (await spool.claim()).claims
            await self.send(spool, number=2)
            self.assertEqual([], list((await spool.claim()).claims))
            await spool.release_slot(claim)
            begun: list[Claim] = []
            spool.listen(begun.extend)
            await self.send(spool, number=3, provider="other")
            (other,) = (await spool.claim()).claims
            self.assertEqual(self.ids(3, 2), [each.delivery.message for each in [*begun, other]])

        return self.play(story)

    def test_what_hangs_holds_up_others_for_a_minute(self):
        """Then they begin, and the time for that is told."""

        async def story(spool: Spool) -> None:
            await self.under_way(spool, [1])
            await self.die(spool)
            await spool.claim()
            await self.send(spool, number=2)
            work = await spool.claim()
            self.assertEqual((0, self.clock.seconds() + MOST_ALONE), (len(work.claims), work.due))
            self.clock.advance(MOST_ALONE)
            self.assertEqual(1, len((await spool.claim()).claims))

        return self.play(story)

    def test_a_node_that_is_never_idle_pauses_for_them(self):
        """After a minute nothing else begins for a while, again and again, until they have gone."""

        async def story(spool: Spool) -> None:
            await self.under_way(spool, [1])
            await self.die(spool)
            await self.send(spool, number=2)
            (busy,) = (await spool.claim()).claims
            self.assertEqual(self.ids(2), [busy.delivery.message])
            await self.send(spool, number=3)
            self.clock.advance(PATIENCE)
            work = await spool.claim()
            self.assertEqual((0, True), (len(work.claims), work.waiting))
            self.assertEqual(self.clock.seconds() + PAUSE, work.due)
            self.clock.advance(PAUSE)
            (other,) = (await spool.claim()).claims
            self.assertEqual(self.ids(3), [other.delivery.message])
            await spool.settle(other, done(other))
            await self.send(spool, number=4)
            self.clock.advance(PATIENCE)
            self.assertEqual([], list((await spool.claim()).claims))
            await spool.settle(busy, done(busy))
            (suspect,) = (await spool.claim()).claims
            self.assertEqual(self.ids(1), [suspect.delivery.message])

        return self.play(story)

    def test_synchronous_deliveries_keep_away_too(self):
        """No permit is given while a suspect is attempted, and none is attempted while a permit is out."""

        async def story(spool: Spool) -> None:
            await self.under_way(spool, [1])
            await self.die(spool)
            permit = await spool.permits.acquire("first", "other", "")
            assert isinstance(permit, Permit)
            work = await spool.claim()
            self.assertEqual((0, True), (len(work.claims), work.waiting))
            woken: list[object] = []
            spool.listen(woken.append)
            await spool.permits.give_back(permit, Feedback())
            self.assertEqual(1, len(woken))
            (claim,) = (await spool.claim()).claims
            self.assertEqual(Busy(), await spool.permits.acquire("second", "other", ""))
            await spool.settle(claim, done(claim))
            self.assertIsInstance(await spool.permits.acquire("third", "other", ""), Permit)

        return self.play(story)

    def test_a_stopped_lane_holds_up_nobody(self):
        """A suspect that cannot go is passed over: by the other suspects, and by the rest."""

        async def story(spool: Spool) -> None:
            await self.under_way(spool, [1])
            await self.send(spool, number=2, provider="other")
            self.assertEqual(1, len((await spool.claim()).claims))
            await self.die(spool)
            await spool.block(Block(provider="main", until=self.clock.seconds() + 600, reason="401"))
            (claim,) = (await spool.claim()).claims
            self.assertEqual("other", claim.delivery.provider)
            await spool.settle(claim, done(claim))
            self.clock.advance(PATIENCE)
            await self.send(spool, number=3, provider="other")
            self.assertEqual(1, len((await spool.claim()).claims))
            await spool.block(Block(provider="main"))
            work = await spool.claim()
            self.assertEqual((0, True), (len(work.claims), work.waiting))

        return self.play(story)

    def test_the_pace_holds_for_them(self):
        """One that has to wait for a token says for how long."""

        async def story(spool: Spool) -> None:
            await self.under_way(spool, [1])
            await self.die(spool)
            work = await spool.claim()
            self.assertEqual(0, len(work.claims))
            assert work.due is not None
            self.clock.advance(work.due - self.clock.seconds())
            self.assertEqual(1, len((await spool.claim()).claims))

        return self.play(story, {"main": RateLimit(concurrency=5, windows=(Window(count=1, seconds=60),))})

    def test_one_that_waits_for_a_token_is_not_forgotten(self):
        """While another one is under way, its end is a reason to ask again."""

        async def story(spool: Spool) -> None:
            await self.under_way(spool, [1])
            await self.send(spool, number=2, provider="other")
            self.assertEqual(1, len((await spool.claim()).claims))
            await self.die(spool)
            work = await spool.claim()
            self.assertEqual((["other"], True), ([c.delivery.provider for c in work.claims], work.waiting))
            await spool.settle(work.claims[0], done(work.claims[0]))
            work = await spool.claim()
            self.assertEqual([], list(work.claims))
            assert work.due is not None
            self.assertGreaterEqual(work.due, 1060.0)

        rate_limits = {"main": RateLimit(windows=(Window(count=1, seconds=60),)), "other": RateLimit()}
        return self.play(story, rate_limits)

    def test_a_clock_that_was_put_back(self):
        """One that is not due any more says when it is."""

        async def story(spool: Spool) -> None:
            await self.under_way(spool, [1])
            await self.die(spool)
            due = self.clock.seconds()
            self.clock.rightNow -= 10
            work = await spool.claim()
            self.assertEqual((0, due), (len(work.claims), work.due))
            self.clock.advance(10)
            self.assertEqual(1, len((await spool.claim()).claims))

        return self.play(story)

    def test_an_operator_clears_it(self):
        """What is retried, or held and released, goes as all mail does."""

        async def story(spool: Spool) -> None:
            for action in ("retry", "hold"):
                await self.under_way(spool, [1, 2])
                await self.die(spool)
                chosen = Selection(ids=tuple(self.ids(1, 2)))
                await spool.admin.edit(chosen, Edit(action=action, who="ops"))
                if action == "hold":
                    self.assertEqual([], list((await spool.admin.stats()).crash_loops))
                    await spool.admin.edit(chosen, Edit(action="release", who="ops"))
                claims = (await spool.claim()).claims
                self.assertEqual(2, len(claims), action)
                for claim in claims:
                    await spool.settle(claim, done(claim))
                await spool.maintenance.sweep(self.clock.seconds() + 1)

        return self.play(story)

    # --- the whole of it, played at random

    async def days_of(self, spool: Spool, chance: random.Random, killers: Sequence[int], kills: float) -> int:
        """
        Let twelve messages go on their way with deaths between them; return how many deaths there were.

        :param killers: the numbers of messages that end the relay whenever it works on them.
        :param kills: how likely somebody else ends it at each step; but never twice in a row during the
            attempts of the same message alone, for then nobody could tell who it was.
        """
        for number in range(1, 13):
            place = chance.choice(["main", "other"])
            await self.send(spool, number=number, provider=place, lane=chance.choice(["", "box"]))
        deadly = set(self.ids(*killers))
        active: list[Claim] = []
        hit: set[str] = set()
        deaths = 0
        for _ in range(600):
            work = await spool.claim(chance.randint(1, 4))
            active += work.claims
            if not active and not work.claims:
                if work.due is None:
                    break
                self.clock.advance(max(0.0, work.due - self.clock.seconds()))
                continue
            chosen = chance.choice(active)
            alone = len(active) == 1 and chosen.delivery.message in hit
            if chosen.delivery.message in deadly or (chance.random() < kills and not alone):
                hit.update([active[0].delivery.message] if len(active) == 1 else [])
                deaths += 1
                self.assertEqual(len(active), await self.die(spool))
                active.clear()
            else:
                hit.discard(chosen.delivery.message)
                active.remove(chosen)
                await spool.settle(chosen, done(chosen))
        return deaths

    def by_chance(self, judge: Callable[[Spool, random.Random], object], seeds: int = 6):
        """Have ``judge`` play on a spool, again and again."""

        async def story(spool: Spool) -> None:
            for seed in range(seeds):
                await judge(spool, random.Random(seed))  # type: ignore[misc]
                await spool.admin.edit(
                    Selection(states=("held",), everything=True), Edit(action="delete", who="ops")
                )
                await spool.maintenance.sweep(self.clock.seconds() + 1)

        return self.play(story, ROOMY)

    def test_a_killer_is_held_and_nobody_else(self):
        """However many go with it, and in whatever order."""

        async def judge(spool: Spool, chance: random.Random) -> None:
            deaths = await self.days_of(spool, chance, killers=[7], kills=0.0)
            self.assertEqual(self.ids(7), [line.message for line in await listed(spool, Selection())])
            self.assertLessEqual(deaths, 3)

        return self.by_chance(judge)

    def test_several_killers_are_held_and_nobody_else(self):
        """Each of them for itself."""

        async def judge(spool: Spool, chance: random.Random) -> None:
            deaths = await self.days_of(spool, chance, killers=[2, 7, 11], kills=0.0)
            left = sorted(line.message for line in await listed(spool, Selection()))
            self.assertEqual(self.ids(2, 7, 11), left)
            self.assertLessEqual(deaths, 9)

        return self.by_chance(judge)

    def test_a_relay_that_is_killed_again_and_again_holds_nothing(self):
        """Every message gets through."""

        async def judge(spool: Spool, chance: random.Random) -> None:
            await self.days_of(spool, chance, killers=[], kills=0.4)
            self.assertEqual([], list(await listed(spool, Selection())))

        return self.by_chance(judge)

    def test_a_killer_among_kills(self):
        """The killer is held at last, and no other message, though the relay dies of other things too."""

        async def judge(spool: Spool, chance: random.Random) -> None:
            await self.days_of(spool, chance, killers=[5], kills=0.3)
            self.assertEqual(self.ids(5), [line.message for line in await listed(spool, Selection())])

        return self.by_chance(judge)
