"""What is due is taken in turn, once, and comes back after a crash."""

from twisted.internet.defer import succeed

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Settlement
from smtprelay.model.message import Planned
from smtprelay.model.outcome import Deferred
from smtprelay.model.queue import Edit, Selection
from smtprelay.model.route import RateLimit, Window
from tests.behaviours.spool_stories import BODY, SpoolStories, done
from tests.listed import listed


class ClaimContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    def test_lanes_take_turns(self):
        """A lane with many mails does not keep a lane with one waiting."""

        async def story(spool: Spool) -> None:
            for number in range(1, 6):
                await self.send(spool, number=number, provider="other", lane="busy")
            await self.send(spool, number=9, provider="other", lane="quiet")
            work = await spool.claim()
            self.assertEqual({"busy", "quiet"}, {claim.delivery.lane for claim in work.claims})
            self.assertEqual(2, len(work.claims))

        return self.play(story)

    def test_short_bodies_come_with_their_claims(self):
        """One chunk is there already; a longer body is left to be read in pieces."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1)
            await self.send(spool, number=2, body=b"A: 1\r\n\r\n" + b"x" * 300_000)
            short, long = (await spool.claim()).claims
            self.assertEqual((await spool.body(short.delivery).whole(), None), (short.body, long.body))
            self.assertEqual(long.delivery.size, len(await spool.body(long.delivery).whole()))

        return self.play(story)

    def test_the_pace_is_never_exceeded(self):
        """In no interval as long as the window do more messages go than it allows."""

        async def story(spool: Spool) -> None:
            for number in range(1, 31):
                await self.send(spool, number=number)
            went: list[float] = []
            while len(went) < 30:
                work = await spool.claim()
                for claim in work.claims:
                    went.append(self.clock.seconds())
                    await spool.settle(claim, done(claim))
                if not work.claims:
                    assert work.due is not None
                    self.clock.advance(max(0.001, work.due - self.clock.seconds()))
            busiest = max(sum(1 for other in went if start <= other < start + 60) for start in went)
            self.assertEqual(5, busiest)
            self.assertLess(went[-1] - went[0], 60 * 6 * 1.06)

        return self.play(story, {"main": RateLimit(concurrency=50, windows=(Window(count=5, seconds=60),))})

    def test_a_deferred_delivery_waits_for_its_time(self):
        """After a deferral it is claimed when it is due and not before, with the tries counted."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            due = self.clock.seconds() + 30
            outcome = Deferred("busy")
            await spool.settle(
                claim,
                Settlement(
                    state="deferred", outcomes={"anna@example.com": outcome}, due=due, tries=1, reason="busy"
                ),
            )
            work = await spool.claim()
            self.assertEqual(([], due), (list(work.claims), work.due))
            (line,) = await listed(spool, Selection())
            self.assertEqual(("deferred", "busy", due), (line.state, line.reason, line.due))
            self.clock.advance(30)
            (again,) = (await spool.claim()).claims
            self.assertEqual((2, 1, 30.0), (again.attempt, again.tries, again.age))
            self.assertEqual(claim.delivery.operation_id, again.delivery.operation_id)

        return self.play(story)

    def test_more_than_the_limit_is_due_again_at_once(self):
        """A claim that stopped at its limit says that there is more to claim now."""

        async def story(spool: Spool) -> None:
            for number in range(1, 4):
                await self.send(spool, number=number)
            work = await spool.claim(limit=1)
            self.assertEqual((1, self.clock.seconds()), (len(work.claims), work.due))

        return self.play(story)

    def test_a_taken_claim_frees_its_slot(self):
        """When the provider has the body, others may go though the outcome is still to come."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number)
            first, _ = (await spool.claim()).claims
            await spool.release_slot(first)
            await spool.release_slot(first)
            (third,) = (await spool.claim()).claims
            self.assertEqual(self.draft(number=3).id, third.delivery.message)
            self.assertTrue(await spool.settle(first, done(first)))
            self.assertEqual([], list((await spool.claim()).claims))

        return self.play(story)

    def test_recovery_returns_what_was_in_flight_as_uncertain(self):
        """What was claimed comes back, due at once and uncertain; what was waiting is untouched."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number)
            before = (await spool.claim()).claims
            self.assertEqual(2, await spool.recover())
            self.assertEqual(0, await spool.recover())
            self.assertFalse(await spool.settle(before[0], done(before[0])))
            (waited,) = (await spool.claim()).claims
            self.assertEqual((1, False), (waited.attempt, waited.uncertain))
            await spool.settle(waited, done(waited))
            for _ in before:
                (claim,) = (await spool.claim()).claims
                self.assertEqual((2, True), (claim.attempt, claim.uncertain))
                await spool.settle(claim, done(claim))
            (detail,) = await spool.admin.show(before[0].delivery.message)
            self.assertEqual("uncertain", detail.history[0].outcome)

        return self.play(story)

    def test_a_node_that_stops_lets_go(self):
        """What it holds goes back as after a crash, at once; a message that is still arriving arrives."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1)
            await spool.claim()
            draft = self.draft("anna@example.com", number=2)
            planned = Planned(route="r", provider="main", lane="", recipients=draft.envelope.recipients)
            incoming = spool.incoming(draft, lambda *_: [planned])
            await (incoming.write(BODY + b"x" * 600_000) or succeed(None))
            self.assertEqual(1, await spool.release())
            self.assertEqual(0, await spool.release())
            self.assertEqual(250, (await incoming.finish()).code)
            claims = {claim.delivery.message: claim for claim in (await spool.claim()).claims}
            self.assertEqual([True, False], [claims[each].uncertain for each in sorted(claims)])
            self.assertEqual([0, 0], [claim.errors for claim in claims.values()])
            whole = await spool.body(claims[draft.id].delivery).whole()
            self.assertEqual(len(BODY) + 600_000, len(whole))

        return self.play(story)

    def test_nobody_listens_any_more(self):
        """After ``listen(None)`` an accept claims nothing: another node may."""

        async def story(spool: Spool) -> None:
            taken: list[object] = []
            spool.listen(taken.append)
            spool.listen(None)
            await self.send(spool)
            self.assertEqual([], taken)
            self.assertEqual(1, len((await spool.claim()).claims))

        return self.play(story)

    def test_it_is_said_when_a_slot_is_waited_for(self):
        """Mail that is due and finds no slot needs no time to wake for, but the end of an attempt."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number)
            work = await spool.claim()
            self.assertEqual((2, True, None), (len(work.claims), work.waiting, work.due))
            await spool.settle(work.claims[0], done(work.claims[0]))
            work = await spool.claim()
            self.assertEqual((1, False, None), (len(work.claims), work.waiting, work.due))

        return self.play(story)

    def test_the_last_token_says_when_there_is_another(self):
        """A claim that uses up the rate tells when it goes on, without waiting for an attempt to end."""

        async def story(spool: Spool) -> None:
            for number in (1, 2):
                await self.send(spool, number=number)
            work = await spool.claim()
            assert work.due is not None
            self.assertEqual(1, len(work.claims))
            self.clock.advance(work.due - self.clock.seconds())
            self.assertEqual(1, len((await spool.claim()).claims))

        return self.play(story, {"main": RateLimit(concurrency=5, windows=(Window(count=1, seconds=60),))})

    def test_lanes_that_were_emptied_do_not_hide_one_that_was_not(self):
        """More lanes than a claim's limit, in which nothing is due any more, are passed over at once."""

        async def story(spool: Spool) -> None:
            for number in range(1, 6):
                await self.send(spool, number=number, provider="other", lane=f"box{number}")
            for number in range(1, 5):
                chosen = Selection(ids=(self.draft(number=number).id,))
                await spool.admin.edit(chosen, Edit(action="hold", who="ops"))
            work = await spool.claim(limit=2)
            self.assertEqual(["box5"], [claim.delivery.lane for claim in work.claims])

        return self.play(story)

    def test_lanes_without_a_slot_do_not_hide_one_that_has(self):
        """More lanes than a claim's limit, each at its bound, do not keep another lane waiting."""

        async def story(spool: Spool) -> None:
            for number in range(1, 4):
                await self.send(spool, number=number, provider="other", lane=f"busy{number}")
            await spool.claim()
            self.clock.advance(1)
            await self.send(spool, number=4, provider="other", lane="free")
            (claim,) = (await spool.claim()).claims
            await spool.settle(claim, done(claim))
            for number in range(5, 9):
                await self.send(spool, number=number, provider="other", lane=f"busy{number - 4}")
            await self.send(spool, number=9, provider="other", lane="free")
            work = await spool.claim(limit=2)
            self.assertIn("free", [claim.delivery.lane for claim in work.claims])

        return self.play(story)

    def test_each_provider_gets_its_share_of_a_claim(self):
        """One with more mail than the limit does not take it all, however often it is asked."""

        async def story(spool: Spool) -> None:
            for number in range(1, 20):
                await self.send(spool, number=number)
            await self.send(spool, number=20, provider="other")
            work = await spool.claim(limit=4)
            self.assertEqual({"main", "other"}, {claim.delivery.provider for claim in work.claims})

        return self.play(story, {"main": RateLimit(concurrency=100), "other": RateLimit()})
