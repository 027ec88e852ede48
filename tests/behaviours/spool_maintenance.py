"""A spool forgets what is over, in small steps, and can say whether it is sound."""

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Claim, Permit, Settlement
from smtprelay.model.outcome import Failed
from smtprelay.model.queue import Edit, Selection
from tests.behaviours.spool_stories import BODY, SpoolStories, done
from tests.listed import listed


def refused(claim: Claim) -> Settlement:
    """Return the settlement of an attempt that nobody will take."""
    addresses = claim.delivery.envelope.addresses
    return Settlement(
        state="failed",
        outcomes={each: Failed("no") for each in addresses},
        closed=dict.fromkeys(addresses, "failed"),
    )


class MaintenanceContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    async def deliver(self, spool: Spool, number: int = 1, settlement=done) -> Claim:
        await self.send(spool, number=number)
        (claim,) = (await spool.claim()).claims
        self.assertTrue(await spool.settle(claim, settlement(claim)))
        return claim

    def test_a_delivered_body_is_kept_for_as_long_as_is_said(self):
        """It can be read until it is swept; the history stays."""

        async def story(spool: Spool) -> None:
            claim = await self.deliver(spool)
            ended = self.clock.seconds()
            self.assertEqual(BODY, await spool.body(claim.delivery).whole())
            self.assertEqual(0, await spool.maintenance.sweep_bodies(ended))
            self.assertEqual(1, await spool.maintenance.sweep_bodies(ended + 1))
            self.assertEqual(0, await spool.maintenance.sweep_bodies(ended + 1))
            with self.assertRaises(LookupError):
                await spool.body(claim.delivery).whole()
            self.assertEqual("delivered", (await spool.admin.show(claim.delivery.message))[0].summary.state)
            self.assertEqual((), tuple((await spool.maintenance.check()).findings))

        return self.play(story, keeps_bodies=True)

    def test_a_delivered_body_goes_at_once(self):
        """Unless bodies are kept, nothing of it is there when the settlement returns."""

        async def story(spool: Spool) -> None:
            claim = await self.deliver(spool)
            with self.assertRaises(LookupError):
                await spool.body(claim.delivery).whole()
            self.assertEqual(0, await spool.maintenance.sweep_bodies(9e9))

        return self.play(story)

    def test_the_body_of_failed_mail_outlives_the_sweep_of_bodies(self):
        """An operator may still send it; when everybody has it, it goes as others do."""

        async def story(spool: Spool) -> None:
            failed = await self.deliver(spool, settlement=refused)
            await spool.maintenance.sweep_bodies(9e9)
            self.assertEqual(BODY, await spool.body(failed.delivery).whole())
            await spool.admin.edit(
                Selection(everything=True, states=("failed",)), Edit(action="retry", who="o")
            )
            (claim,) = (await spool.claim()).claims
            self.assertEqual(0, await spool.maintenance.sweep_bodies(9e9))
            await spool.settle(claim, done(claim))
            self.assertEqual(1, await spool.maintenance.sweep_bodies(9e9))
            with self.assertRaises(LookupError):
                await spool.body(claim.delivery).whole()
            self.assertEqual((), tuple((await spool.maintenance.check()).findings))

        return self.play(story, keeps_bodies=True)

    def test_a_sweep_is_small_in_bytes_too(self):
        """Of large bodies one step drops few, and at least one."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number, body=BODY + b"x" * 14_000_000)
                (claim,) = (await spool.claim()).claims
                await spool.settle(claim, done(claim))
                self.clock.advance(1)
            self.assertEqual([2, 1, 0], [await spool.maintenance.sweep_bodies(9e9) for _ in range(3)])

        return self.play(story, keeps_bodies=True)

    def test_the_oldest_go_first(self):
        """What was finished first is forgotten first."""

        async def story(spool: Spool) -> None:
            for number in (2, 1, 3):
                await self.deliver(spool, number)
                self.clock.advance(1)
            await spool.maintenance.sweep(9e9, limit=1)
            left = await listed(spool, Selection(states=("delivered",)))
            self.assertEqual([self.draft(number=n).id for n in (3, 1)], [line.message for line in left])

        return self.play(story)

    def test_a_sound_spool_is_counted(self):
        """A check finds nothing in it, and says how much there is."""

        async def story(spool: Spool) -> None:
            await self.deliver(spool, 1)
            await self.deliver(spool, 2, refused)
            await self.send(spool, "a@example.com", "b@example.com", number=3)
            await spool.claim()
            checked = await spool.maintenance.check(deep=True)
            self.assertEqual(((), 3, 3), (tuple(checked.findings), checked.messages, checked.deliveries))
            self.assertEqual(2 * len(BODY), checked.bytes)

        return self.play(story)

    def test_a_sound_spool_is_recounted(self):
        """With mail in every stage, and a permit, whatever is counted anew is what was counted before."""

        async def story(spool: Spool) -> None:
            for number, lane in enumerate(("", "a", "a", "b"), start=1):
                await self.send(spool, number=number, provider="other", lane=lane)
            await spool.claim(2)
            self.assertIsInstance(await spool.permits.acquire("x", "other", "c"), Permit)
            before = (await spool.admin.stats()).lanes
            self.assertEqual(0, await spool.maintenance.recount())
            self.assertEqual(list(before), list((await spool.admin.stats()).lanes))
            self.assertEqual((), tuple((await spool.maintenance.check()).findings))

        return self.play(story)

    def test_room_is_asked_for_and_given_back(self):
        """Whatever the engine can tell and give, to ask for it harms nothing."""

        async def story(spool: Spool) -> None:
            claim = await self.deliver(spool, settlement=refused)
            space = await spool.maintenance.space()
            self.assertGreaterEqual(space.spare, 0)
            self.assertEqual(0, await spool.maintenance.shrink(10**9))
            await spool.maintenance.shrink(0)
            self.assertEqual(BODY, await spool.body(claim.delivery).whole())

        return self.play(story)
