"""Who does not queue shares slots, rate and blocks with those who do."""

from twisted.internet import defer

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Block, Busy, Feedback, Permit, Settlement
from smtprelay.model.message import Planned
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Throttled
from smtprelay.model.queue import Selection
from smtprelay.model.route import RateLimit, Window
from tests.behaviours.spool_stories import BODY, SpoolStories, done
from tests.listed import listed


class PermitsContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    async def permit(self, spool: Spool, name: str, provider: str = "main", lane: str = "") -> Permit:
        permit = await spool.permits.acquire(name, provider, lane)
        assert isinstance(permit, Permit), permit
        return permit

    def test_a_loan_is_a_slot(self):
        """The queue has what is left; what is given back goes to whoever asks first."""

        async def story(spool: Spool) -> None:
            woken: list[object] = []
            permit = await self.permit(spool, "one")
            for number in (1, 2, 3):
                await self.send(spool, number=number)
            (claim,) = (await spool.claim()).claims
            self.assertEqual(Busy(), await spool.permits.acquire("two", "main", ""))
            spool.listen(woken.append)
            await spool.permits.give_back(permit, Feedback(outcomes=(Delivered(),)))
            self.assertEqual([()], woken)
            await spool.permits.give_back(permit, Feedback())
            await self.permit(spool, "two")
            self.assertTrue((await spool.claim()).waiting)
            await spool.settle(claim, done(claim))
            self.assertEqual(1, len((await spool.claim()).claims))

        return self.play(story)

    def test_a_bound_of_the_lane_holds(self):
        """One mailbox gives no more than its own slots, another one still does."""

        async def story(spool: Spool) -> None:
            await self.permit(spool, "one", "other", "box")
            self.assertEqual(Busy(), await spool.permits.acquire("two", "other", "box"))
            await self.permit(spool, "three", "other", "bin")

        return self.play(story)

    def test_the_pace_is_shared(self):
        """Each permit spends a token; it is said when there is another."""

        async def story(spool: Spool) -> None:
            await self.permit(spool, "one")
            await self.send(spool, number=1)
            self.assertEqual(1, len((await spool.claim()).claims))
            turned = await spool.permits.acquire("two", "main", "")
            assert isinstance(turned, Busy)
            assert turned.until is not None
            self.assertEqual("", turned.reason)
            self.clock.advance(turned.until - self.clock.seconds())
            await self.permit(spool, "two")

        return self.play(story, {"main": RateLimit(concurrency=9, windows=(Window(count=2, seconds=60),))})

    def test_nothing_is_lent_in_a_blocked_lane(self):
        """It says why, and until when: for the lane itself and for its whole provider."""

        async def story(spool: Spool) -> None:
            until = self.clock.seconds() + 60
            for lane in ("box", ""):
                await spool.block(Block(provider="other", lane=lane, until=until, reason="401"))
                self.assertEqual(
                    Busy(reason="401", until=until), await spool.permits.acquire("one", "other", "box")
                )
                await spool.block(Block(provider="other", lane=lane))
            await self.permit(spool, "one", "other", "box")

        return self.play(story)

    def test_what_it_shows_is_known_to_all(self):
        """A permit that finds the lane blocked stops it for the queue; one that is told off slows it down."""

        async def story(spool: Spool) -> None:
            block = Block(provider="main", until=9e9, reason="401")
            permit = await self.permit(spool, "one")
            await spool.permits.give_back(permit, Feedback(outcomes=(Blocked("401"),), block=block))
            await self.send(spool, number=1)
            work = await spool.claim()
            self.assertEqual(([], [("main", "")]), (list(work.claims), list(work.stopped)))
            await spool.block(Block(provider="main"))
            permit = await self.permit(spool, "two")
            await spool.permits.give_back(permit, Feedback(outcomes=(Throttled("429"),)))
            self.assertEqual(self.clock.seconds() + 0.25, (await spool.claim()).due)
            self.assertEqual(
                Busy(until=self.clock.seconds() + 0.25), await spool.permits.acquire("x", "main", "")
            )

        return self.play(story)

    def test_an_answer_ends_a_trial(self):
        """On trial one request goes alone; if it is a permit, what it shows counts as well."""

        async def story(spool: Spool) -> None:
            await spool.block(Block(provider="main", trial=True))
            permit = await self.permit(spool, "one")
            self.assertEqual(Busy(), await spool.permits.acquire("two", "main", ""))
            await spool.permits.give_back(permit, Feedback(outcomes=(Delivered(),)))
            await self.permit(spool, "two")
            await self.permit(spool, "three")

        return self.play(story)

    def test_the_slot_may_come_back_before_the_outcome(self):
        """Then others may go; what comes of it later still teaches."""

        async def story(spool: Spool) -> None:
            first, _ = await self.permit(spool, "one"), await self.permit(spool, "two")
            await spool.permits.give_back(first)
            await spool.permits.give_back(first)
            await self.permit(spool, "three")
            self.assertEqual(Busy(), await spool.permits.acquire("four", "main", ""))
            await spool.permits.give_back(first, Feedback(outcomes=(Throttled("429"),)))
            (lane,) = (await spool.admin.stats()).lanes
            self.assertIsNotNone(lane.ceiling)

        return self.play(story)

    def test_the_dead_give_back(self):
        """A permit that nobody gives back ends with its node, or with its lease."""

        async def story(spool: Spool) -> None:
            for name in ("one", "two"):
                await self.permit(spool, name)
            await spool.recover()
            stale = await self.permit(spool, "three")
            await self.permit(spool, "four")
            for _ in range(21):  # a database that was silent for long gives everybody another lease
                self.clock.advance(30)
                await spool.renew([])
            await spool.maintenance.reclaim()
            await self.permit(spool, "five")
            await spool.permits.give_back(stale, Feedback())
            await self.permit(spool, "six")
            self.assertEqual(Busy(), await spool.permits.acquire("seven", "main", ""))

        return self.play(story)

    def test_who_waits_is_told_of_room(self):
        """After each end of an attempt, each slot that comes back, and each lane that opens."""

        async def story(spool: Spool) -> None:
            told: list[int] = []

            async def wait() -> None:
                while True:
                    await spool.permits.room()
                    told.append(1)

            waiting = defer.Deferred.fromCoroutine(wait())
            waiting.addErrback(lambda failure: failure.trap(defer.CancelledError))
            await self.send(spool, number=1)
            (claim,) = (await spool.claim()).claims
            permit = await self.permit(spool, "one")
            self.assertEqual(0, len(told))
            await spool.release_slot(claim)
            await spool.settle(claim, done(claim))
            await spool.permits.give_back(permit, Feedback())
            await spool.block(Block(provider="main"))
            self.assertEqual(4, len(told))
            waiting.cancel()
            await spool.block(Block(provider="main"))
            self.assertEqual(4, len(told))

        return self.play(story)

    def test_a_message_comes_in_with_an_attempt_behind_it(self):
        """It is recorded as the spool's own would be: the rest goes again when it is due."""

        async def story(spool: Spool) -> None:
            permit = await self.permit(spool, "one")
            draft = self.draft("anna@example.com", "ben@example.com")
            outcomes = {"anna@example.com": Delivered("op-1"), "ben@example.com": Deferred("busy")}
            settlement = Settlement(
                state="deferred",
                outcomes=outcomes,
                closed={"anna@example.com": "delivered"},
                due=self.clock.seconds() + 30,
                tries=1,
                counts=True,
                reason="busy",
            )
            planned = Planned(route="r", provider="main", lane="", recipients=draft.envelope.recipients)
            incoming = spool.incoming(draft, lambda *_: [planned], settlement)
            incoming.write(BODY)
            self.assertEqual(250, (await incoming.finish()).code)
            await spool.permits.give_back(permit, Feedback())
            (line,) = await listed(spool, Selection())
            self.assertEqual(("deferred", "busy", 1), (line.state, line.reason, line.attempts))
            (detail,) = await spool.admin.show(draft.id)
            self.assertEqual(["delivered+deferred"], [each.outcome for each in detail.history])
            self.assertEqual([], list((await spool.claim()).claims))
            self.clock.advance(30)
            (claim,) = (await spool.claim()).claims
            self.assertEqual(("ben@example.com",), claim.delivery.envelope.addresses)
            self.assertEqual((2, 1, 1), (claim.attempt, claim.tries, claim.deferrals))
            await spool.settle(claim, done(claim))
            self.assertEqual({}, {k: v for k, v in (await spool.admin.stats()).states.items() if v})

        return self.play(story)
