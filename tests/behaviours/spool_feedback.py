"""A lane whose provider complains goes slower, for all who share the spool, and faster again."""

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Claim, Settlement
from smtprelay.model.outcome import Deferred, Throttled
from smtprelay.model.queue import Edit, Selection
from smtprelay.model.route import RateLimit
from tests.behaviours.spool_stories import SpoolStories, done
from tests.listed import listed

#: Slower than the complaint asks for is nothing.
WIDE = {"main": RateLimit(concurrency=20), "other": RateLimit(concurrency=20)}


def refused(claim: Claim, due: float, *, counts: bool = False) -> Settlement:
    """Return the settlement of an attempt for which the provider said that it was one too many."""
    outcome = Deferred("429") if counts else Throttled("429 slow down", lane=claim.delivery.lane)
    outcomes = dict.fromkeys(claim.delivery.envelope.addresses, outcome)
    return Settlement(state="deferred", outcomes=outcomes, due=due, tries=1, counts=counts, reason="429")


class FeedbackContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    async def begin(self, spool: Spool, count: int) -> list[Claim]:
        """Send so many mails, and claim all that may go."""
        for number in range(1, count + 1):
            await self.send(spool, number=number)
        return list((await spool.claim()).claims)

    async def ceiling(self, spool: Spool) -> float | None:
        (lane,) = [
            each for each in (await spool.admin.stats()).lanes if (each.provider, each.lane) == ("main", "")
        ]
        return lane.ceiling

    def test_a_complaint_slows_the_lane_down(self):
        """It is closed for a moment, then one goes alone, and after an answer fewer at once than before."""

        async def story(spool: Spool) -> None:
            first, *others = await self.begin(spool, 40)
            self.assertEqual(19, len(others))
            self.clock.advance(1)
            await spool.settle(first, refused(first, self.clock.seconds()))
            for each in others:
                await spool.settle(each, done(each))
            work = await spool.claim()
            self.assertEqual([], list(work.claims))
            assert work.due is not None
            self.assertEqual((False, 0.25), (work.waiting, work.due - self.clock.seconds()))
            self.clock.advance(0.25)
            (alone,) = (await spool.claim()).claims
            self.assertTrue((await spool.claim()).waiting)
            await spool.settle(alone, done(alone))
            self.assertEqual(14, len((await spool.claim()).claims))
            ceiling = await self.ceiling(spool)
            assert ceiling is not None
            self.assertEqual(14, int(ceiling))

        return self.play(story, WIDE)

    def test_many_refusals_of_one_moment_are_one_complaint(self):
        """What was asked for before the lane slowed down does not slow it down once more."""

        async def story(spool: Spool) -> None:
            claims = await self.begin(spool, 20)
            self.clock.advance(1)
            for each in claims:
                await spool.settle(each, refused(each, self.clock.seconds()))
            self.assertEqual(14.0, await self.ceiling(spool))

        return self.play(story, WIDE)

    def test_a_row_of_complaints_closes_it_for_longer(self):
        """Each refusal of the one that goes alone doubles the pause; the ceiling stays as it is."""

        async def story(spool: Spool) -> None:
            (claim,) = await self.begin(spool, 1)
            pauses = []
            for _ in range(4):
                self.clock.advance(1)
                await spool.settle(claim, refused(claim, self.clock.seconds()))
                due = (await spool.claim()).due
                assert due is not None
                pauses.append(due - self.clock.seconds())
                self.clock.advance(pauses[-1])
                (claim,) = (await spool.claim()).claims
            self.assertEqual([0.25, 0.5, 1.0, 2.0], pauses)
            self.assertEqual(14.0, await self.ceiling(spool))

        return self.play(story, WIDE)

    def test_it_is_forgotten_after_enough_answers(self):
        """The lane is as fast as before when it has gone well for long enough."""

        async def story(spool: Spool) -> None:
            (claim,) = await self.begin(spool, 1)
            await spool.settle(claim, refused(claim, self.clock.seconds()))
            for number in range(100, 170):
                self.clock.advance(1)
                await self.send(spool, number=number)
                for each in (await spool.claim()).claims:
                    await spool.settle(each, done(each))
            self.assertIsNone(await self.ceiling(spool))

        return self.play(story, {"main": RateLimit(concurrency=2)})

    def test_less_than_one_at_once_is_one_now_and_then(self):
        """After many complaints one at a time goes at intervals; a claim says when the next one may."""

        async def story(spool: Spool) -> None:
            (claim,) = await self.begin(spool, 1)
            for number in range(2, 5):
                self.clock.advance(60)
                await spool.settle(claim, refused(claim, self.clock.seconds()))
                self.clock.advance(60)
                await self.send(spool, number=number)
                (one,) = (await spool.claim()).claims
                await spool.settle(one, done(one))
                self.clock.advance(60)
                (claim,) = (await spool.claim()).claims
            ceiling = await self.ceiling(spool)
            assert ceiling is not None
            self.assertLess(ceiling, 1)
            await self.send(spool, number=9)
            work = await spool.claim()
            self.assertEqual([], list(work.claims))
            await spool.settle(claim, done(claim))
            work = await spool.claim()
            assert work.due is not None
            self.assertGreater(work.due, self.clock.seconds())
            self.clock.advance(work.due - self.clock.seconds())
            self.assertEqual(1, len((await spool.claim()).claims))

        return self.play(story, {"main": RateLimit(concurrency=1)})

    def test_a_complaint_of_one_lane_leaves_the_others_alone(self):
        """A mailbox that is slowed down waits; another one of the same provider goes on."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1, provider="other", lane="slow")
            (claim,) = (await spool.claim()).claims
            await spool.settle(claim, refused(claim, self.clock.seconds()))
            await self.send(spool, number=2, provider="other", lane="fast")
            work = await spool.claim()
            self.assertEqual(["fast"], [each.delivery.lane for each in work.claims])
            self.assertEqual(self.clock.seconds() + 0.25, work.due)
            self.clock.advance(0.25)
            work = await spool.claim()
            self.assertEqual(["slow"], [each.delivery.lane for each in work.claims])

        return self.play(story, WIDE)

    def test_a_lane_at_its_ceiling_waits_for_an_answer(self):
        """It needs no time to wake for, and does not hide another lane from a claim with a limit."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1, provider="other", lane="slow")
            (claim,) = (await spool.claim()).claims
            await spool.settle(claim, refused(claim, self.clock.seconds()))
            self.clock.advance(0.25)
            (claim,) = (await spool.claim()).claims
            await spool.settle(claim, done(claim))
            for number in range(2, 20):
                await self.send(spool, number=number, provider="other", lane="slow")
            self.assertEqual(14, len((await spool.claim()).claims))
            work = await spool.claim()
            self.assertEqual((0, True, None), (len(work.claims), work.waiting, work.due))
            self.clock.advance(1)
            await self.send(spool, number=30, provider="other", lane="fast")
            work = await spool.claim(limit=1)
            self.assertEqual(["fast"], [each.delivery.lane for each in work.claims])

        return self.play(story, WIDE)

    def test_a_complaint_of_the_provider_itself_closes_all_its_lanes(self):
        """Its own lane stands for it; the claim says when it goes on, and nothing goes at accept."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1, provider="other")
            (claim,) = (await spool.claim()).claims
            await spool.settle(claim, refused(claim, self.clock.seconds() + 9))
            taken: list[Claim] = []
            spool.listen(taken.extend)
            await self.send(spool, number=2, provider="other", lane="box")
            work = await spool.claim()
            self.assertEqual(([], [], self.clock.seconds() + 0.25), (taken, list(work.claims), work.due))
            self.clock.advance(0.25)
            self.assertEqual(1, len((await spool.claim()).claims))

        return self.play(story, WIDE)

    def test_a_mailbox_can_be_told_that_its_provider_is_asked_for_too_much(self):
        """The provider's own lane slows down, for all mailboxes; the answers to each make it faster again."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1, provider="main", lane="one")
            (claim,) = (await spool.claim()).claims
            everyone = dict.fromkeys(claim.delivery.envelope.addresses, Throttled("429 the whole account"))
            settlement = Settlement(state="deferred", outcomes=everyone, due=self.clock.seconds() + 999)
            await spool.settle(claim, settlement)
            ceilings = [await self.ceiling(spool)]
            await self.send(spool, number=2, provider="main", lane="two")
            self.assertEqual([], list((await spool.claim()).claims))
            self.clock.advance(1)
            (claim,) = (await spool.claim()).claims
            await spool.settle(claim, done(claim))
            ceilings.append(await self.ceiling(spool))
            self.assertEqual([14.0, 14.01], ceilings)
            lanes = {lane.lane: lane.ceiling for lane in await spool.admin.lanes("main")}
            self.assertEqual((None, None), (lanes["one"], lanes.get("two")))

        return self.play(story, WIDE)

    def test_a_mail_for_a_slow_mailbox_is_not_claimed_at_accept(self):
        """So it is for a lane that is not the provider's own."""

        async def story(spool: Spool) -> None:
            taken: list[Claim] = []
            spool.listen(taken.extend)
            await self.send(spool, number=1, provider="other", lane="box")
            await spool.settle(taken[0], refused(taken[0], self.clock.seconds() + 9))
            await self.send(spool, number=2, provider="other", lane="box")
            self.assertEqual(1, len(taken))

        return self.play(story, WIDE)

    def test_a_mail_in_a_slow_lane_is_not_claimed_at_accept(self):
        """What comes in while the lane is closed is queued."""

        async def story(spool: Spool) -> None:
            taken: list[Claim] = []
            spool.listen(taken.extend)
            await self.send(spool, number=1)
            await spool.settle(taken[0], refused(taken[0], self.clock.seconds() + 9))
            await self.send(spool, number=2)
            self.assertEqual(1, len(taken))
            (line,) = await listed(spool, Selection(states=("queued",)))
            self.assertEqual(self.draft(number=2).id, line.message)

        return self.play(story, WIDE)

    def test_deferrals_are_counted_over_all_providers(self):
        """What counts adds up, whoever was asked; an operator's retry begins anew."""

        async def story(spool: Spool) -> None:
            (claim,) = await self.begin(spool, 1)
            seen = []
            for provider, counts in (("other", True), ("", True), ("main", False), ("", True)):
                settlement = refused(claim, self.clock.seconds(), counts=counts)
                moved = Settlement(
                    state="queued",
                    outcomes=settlement.outcomes,
                    due=self.clock.seconds(),
                    provider=provider,
                    counts=counts,
                )
                await spool.settle(claim, moved)
                self.clock.advance(60)
                (claim,) = (await spool.claim()).claims
                seen.append(claim.deferrals)
            self.assertEqual([1, 2, 2, 3], seen)
            await spool.settle(claim, Settlement(state="held", outcomes={}))
            await spool.admin.edit(Selection(everything=True), Edit(action="release", who="ops"))
            (claim,) = (await spool.claim()).claims
            self.assertEqual(0, claim.deferrals)

        return self.play(story, WIDE)
