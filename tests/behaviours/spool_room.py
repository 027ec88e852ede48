"""A spool that is full takes nothing more, lets go what it has, and takes mail again."""

from random import Random

from twisted.internet import defer

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Settlement
from smtprelay.model.outcome import Delivered, Failed
from smtprelay.model.queue import Edit, Selection
from smtprelay.net.buffer_budget import Budget
from smtprelay.spool.receive.capacity import CapacityLimits
from tests.behaviours.spool_stories import BODY, SpoolStories, done
from tests.listed import listed

LARGE = BODY + b"x" * 1_000_000
THREE = CapacityLimits(deliveries=3, free=0.0)


def picture(number: int) -> bytes:
    """Return 1 MB that no database makes smaller."""
    return BODY + Random(number).randbytes(1_000_000).replace(b"\n", b"-")


class RoomContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    def test_what_waits_is_limited(self):
        """Beyond the limit of messages there is a 452, the complaint says why, and what is there goes out."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                self.assertIsNone(spool.refusal())
                self.assertEqual(250, (await self.send(spool, number=number)).code)
            reply = await self.send(spool, number=4)
            self.assertEqual((452, "4.3.1", "spool-full"), (reply.code, reply.enhanced, reply.rule))
            self.assertEqual(reply, spool.refusal())
            self.assertEqual("full: 3 deliveries wait, the limit is 3", spool.maintenance.complaint)
            await spool.maintenance.check_health()
            self.assertEqual(reply, spool.refusal())
            (claim, _) = (await spool.claim()).claims
            self.assertTrue(await spool.settle(claim, done(claim)))
            self.assertIsNone(spool.refusal())
            self.assertEqual("", spool.maintenance.complaint)
            self.assertEqual(250, (await self.send(spool, number=5)).code)

        return self.play(story, floors=THREE)

    def test_history_is_no_mail_that_waits(self):
        """What was delivered, failed or deleted does not count any more, what is held does."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number, provider="other", lane=f"{number}")
            first, second, third = (await spool.claim()).claims
            await spool.settle(first, done(first))
            addresses = second.delivery.envelope.addresses
            ended = {each: Failed("no") for each in addresses}
            failed = Settlement(state="failed", outcomes=ended, closed=dict.fromkeys(addresses, "failed"))
            await spool.settle(second, failed)
            held = {each: Delivered() for each in ()}
            await spool.settle(third, Settlement(state="held", outcomes=held))
            await spool.maintenance.check_health()
            for number in (4, 5):
                self.assertEqual(250, (await self.send(spool, number=number)).code)
            await spool.maintenance.check_health()
            self.assertIsNotNone(spool.refusal())
            await spool.admin.edit(Selection(states=("held", "queued")), Edit(action="delete", who="ops"))
            await spool.maintenance.check_health()
            self.assertIsNone(spool.refusal())

        return self.play(story, floors=THREE)

    def test_a_message_that_has_no_room(self):
        """One that is too large for what is left is refused at MAIL and in the body, a small one is taken."""

        async def story(spool: Spool) -> None:
            await spool.maintenance.check_health()
            self.assertIsNone(spool.refusal(1000))
            self.assertIsNotNone(spool.refusal(len(LARGE)))
            reply = await self.send(spool, number=1, body=LARGE)
            self.assertEqual((452, "spool-full"), (reply.code, reply.rule))
            self.assertEqual(250, (await self.send(spool, number=2)).code)
            self.assertEqual("", spool.maintenance.complaint)

        return self.play(story, floors=CapacityLimits(bytes=1_000_000, free=0.0))

    def test_what_it_holds_is_limited(self):
        """Bodies fill it, whoever brought them; when one of them has gone there is room for another."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                self.assertEqual(250, (await self.send(spool, number=number, body=picture(number))).code)
            await spool.maintenance.check_health()
            self.assertIsNone(spool.refusal(1000))
            self.assertIsNotNone(spool.refusal(len(picture(4))))
            (claim,) = (await spool.claim(1)).claims
            await spool.settle(claim, done(claim))
            await spool.maintenance.check_health()
            self.assertIsNone(spool.refusal(len(picture(4))))
            self.assertEqual(250, (await self.send(spool, number=4, body=picture(4))).code)

        return self.play(story, floors=CapacityLimits(bytes=4_000_000, free=0.0))

    def test_history_fills_it_too(self):
        """What is over takes room while it is kept; forgotten it takes none."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number, body=picture(number))
                (claim,) = (await spool.claim(1)).claims
                await spool.settle(claim, done(claim))
            before = (await spool.maintenance.space()).used
            self.assertGreater(before, 3 * len(picture(1)))
            self.assertEqual(2, await spool.maintenance.sweep(9e9, 2))
            self.assertLess((await spool.maintenance.space()).used, before - 2 * len(picture(1)) + 20_000)

        return self.play(story, floors=CapacityLimits(bytes=4_000_000, free=0.0), keeps_bodies=True)

    def test_our_own_mail_is_taken(self):
        """A bounce, a test mail, what is left of a synchronous delivery: they are not handed in."""

        async def story(spool: Spool) -> None:
            draft = self.draft("anna@example.com", number=9)
            await self.send(spool)
            self.assertIsNotNone(spool.refusal())
            await spool.accept(draft, LARGE, [self.planned(draft)])
            self.assertEqual(2, len(await listed(spool, Selection())))

        return self.play(story, floors=CapacityLimits(deliveries=1))

    def test_memory_is_given_back(self):
        """Whatever becomes of a message, nothing of it is held when it is over."""
        budget = Budget()

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1)
            self.assertEqual(0, budget.held)
            await self.send(spool, number=1, body=LARGE)  # the same id: it cannot be stored
            self.assertEqual(0, budget.held)
            await self.send(spool, number=2, body=LARGE)
            self.assertEqual(0, budget.held)
            for content in (BODY, LARGE):
                incoming = spool.incoming(self.draft("a@example.com", number=3), lambda *_: [])
                waiting = incoming.write(content)
                incoming.abort()
                if waiting is not None:
                    await waiting
                self.assertEqual(0, budget.held)
            refused = spool.incoming(self.draft("a@example.com", number=4), lambda *_: [])
            waiting = refused.write(LARGE)
            if waiting is not None:
                await waiting
            await refused.finish()
            self.assertEqual(0, budget.held)

        return self.play(story, budget=budget)

    def test_with_little_memory_an_endless_header_goes_to_the_disk(self):
        """A header without an end is held no longer than other content."""
        budget = Budget(1)
        most = []

        async def story(spool: Spool) -> None:
            budget.take(1)
            incoming = spool.incoming(self.draft("a@example.com"), lambda *_: [])
            field = b"X: y\r\n" * 200
            for _ in range(200):
                waiting = incoming.write(field)
                if waiting is not None:
                    await waiting
                most.append(budget.held)
            incoming.abort()
            self.assertLess(max(most), 70_000)

        return self.play(story, budget=budget)

    def test_with_little_memory_a_message_goes_to_the_disk_in_small_pieces(self):
        """It arrives whole, with its subject, and less is held than the message is long."""
        budget = Budget(100_000)
        most = []

        async def story(spool: Spool) -> None:
            body = BODY + b"x" * 600_000
            draft = self.draft("anna@example.com")
            incoming = spool.incoming(draft, lambda *_: [self.planned(draft)])
            for start in range(0, len(body), 20_000):
                waiting: defer.Deferred[None] | None = incoming.write(body[start : start + 20_000])
                most.append(budget.held)
                if waiting is not None:
                    await waiting
            self.assertEqual(250, (await incoming.finish()).code)
            (line,) = await listed(spool, Selection())
            self.assertEqual("Scan", line.subject)
            (claim,) = (await spool.claim()).claims
            self.assertEqual(body, await spool.body(claim.delivery).whole())
            self.assertLessEqual(max(most), 120_000)
            self.assertEqual(0, budget.held)

        return self.play(story, budget=budget)
