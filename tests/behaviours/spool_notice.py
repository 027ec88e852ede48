"""Reports to senders become mail together with what they tell."""

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import NewMessage, Settlement
from smtprelay.model.message import Client, Delivery, Draft, Envelope, Planned, Recipient
from smtprelay.model.outcome import Failed
from smtprelay.model.queue import Edit, Selection
from tests.behaviours.spool_stories import SpoolStories, done
from tests.listed import listed

BODY = b"Subject: Delayed\r\n\r\nstill here\r\n"


def report_on(message: str, number: int = 1, body: bytes = BODY) -> NewMessage:
    """Return a report on ``message``."""
    recipients = (Recipient(address="scan@example.com"),)
    draft = Draft(
        id=f"ZZZZZZZZZZZZZZZ{number}",
        envelope=Envelope(sender="", recipients=recipients),
        client=Client(address="127.0.0.1"),
        received=1000.0,
        bounce_of=message,
    )
    planned = Planned(route="r", provider="other", lane="", recipients=recipients)
    return NewMessage(draft=draft, body=body, planned=[planned], kind="delay")


class NoticeContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    async def overdue(self, spool: Spool, age: float = 10.0) -> list[Delivery]:
        """Return what is older than ``age``, all pages of it, each of one delivery."""
        found, mark, more = [], ("", 0), True
        while more:
            page = await spool.overdue(self.clock.seconds() - age, mark, limit=1)
            found += [each.delivery for each in page.deliveries]
            mark, more = page.mark, page.more
        return found

    def test_the_old_are_found_whatever_their_state(self):
        """Queued, under way, deferred and held alike, in their order; not what is young or at its end."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3, 4, 5):
                await self.send(spool, number=number, provider="other", lane=f"box{number}")
            claims = (await spool.claim()).claims
            self.assertEqual(5, len(claims))
            ends = ("deferred", "queued", "held")
            for claim, state in zip(claims[1:4], ends, strict=True):
                await spool.settle(claim, Settlement(state=state, outcomes={}, reason=f"is {state}"))
            await spool.settle(claims[4], done(claims[4]))
            self.clock.advance(11)
            await self.send(spool, number=6)
            found = await self.overdue(spool)
            self.assertEqual(
                [self.draft(number=n).id for n in (1, 2, 3, 4)], [each.message for each in found]
            )
            page = await spool.overdue(self.clock.seconds() - 10)
            self.assertEqual(
                [("active", ""), ("deferred", "is deferred"), ("queued", "is queued"), ("held", "is held")],
                [(each.state, each.reason) for each in page.deliveries],
            )
            self.assertEqual([11.0] * 4, [each.age for each in page.deliveries])
            self.assertEqual([1000.0] * 4, [each.attempted for each in page.deliveries])
            self.assertEqual(("anna@example.com",), page.deliveries[0].delivery.envelope.addresses)

        return self.play(story)

    def test_a_page_goes_on_where_the_last_one_ended(self):
        """Also within a message of several deliveries, and later, with what has become old meanwhile."""

        async def story(spool: Spool) -> None:
            draft = self.draft("a@x.org", "b@x.org", "c@x.org")
            planned = [
                Planned(route="r", provider="main", lane="", recipients=(each,))
                for each in draft.envelope.recipients
            ]
            await spool.accept(draft, b"x", planned)
            self.clock.advance(11)
            self.assertEqual([1, 2, 3], [each.n for each in await self.overdue(spool)])
            before = self.clock.seconds() - 10
            page = await spool.overdue(before)
            self.assertEqual(((draft.id, 3), False), (page.mark, page.more))
            await self.send(spool, number=2)
            self.assertEqual([], list((await spool.overdue(before, page.mark)).deliveries))
            self.clock.advance(11)
            (found,) = (await spool.overdue(before + 11, page.mark)).deliveries
            self.assertEqual(self.draft(number=2).id, found.delivery.message)

        return self.play(story)

    def test_nobody_to_be_told(self):
        """Mail of the null sender, and reports themselves, are not overdue to anybody."""

        async def story(spool: Spool) -> None:
            planned = report_on("M").planned
            await spool.accept(self.draft("a@x.org", sender="", number=1), b"x", planned)
            await spool.accept(report_on("M").draft, b"x", planned)
            self.clock.advance(11)
            self.assertEqual([], await self.overdue(spool))

        return self.play(story)

    def test_a_notice_is_accepted_once(self):
        """It is queued like any mail, with its subject; a second one is not taken, and nothing is overdue."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            self.clock.advance(11)
            (late,) = await self.overdue(spool)
            self.assertTrue(await spool.notify(late, report_on(late.message)))
            self.assertFalse(await spool.notify(late, report_on(late.message, 2)))
            self.assertEqual([], await self.overdue(spool))
            lines = await listed(spool, Selection())
            self.assertEqual({"Scan", "Delayed"}, {line.subject for line in lines})
            claims = (await spool.claim()).claims
            (told,) = [claim.delivery for claim in claims if claim.delivery.bounce_of]
            self.assertEqual((late.message, ""), (told.bounce_of, told.envelope.sender))
            self.assertEqual(BODY, await spool.body(told).whole())

        return self.play(story)

    def test_what_has_ended_meanwhile_is_not_told(self):
        """Delivered, failed or deleted between the look and the notice."""

        async def story(spool: Spool) -> None:
            for number in (1, 2):
                await self.send(spool, number=number)
            self.clock.advance(11)
            first, second = await self.overdue(spool)
            one, other = (await spool.claim()).claims
            await spool.settle(one, done(one))
            await spool.settle(other, Settlement(state="queued", outcomes={}))
            await spool.admin.edit(Selection(everything=True), Edit(action="delete", who="ops"))
            for late in (first, second):
                self.assertFalse(await spool.notify(late, report_on(late.message)))
            with self.assertRaises(LookupError):
                await spool.admin.show(report_on("").draft.id)

        return self.play(story)

    def test_a_large_report(self):
        """One that returns a whole mail is stored in pieces, as every body is."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            body = BODY + b"x" * 600_000
            settlement = Settlement(
                state="failed",
                outcomes={"anna@example.com": Failed("no")},
                closed={"anna@example.com": "failed"},
                bounce=report_on(claim.delivery.message, body=body),
            )
            self.assertTrue(await spool.settle(claim, settlement))
            (bounce,) = (await spool.claim()).claims
            chunks = [chunk async for chunk in spool.body(bounce.delivery).chunks()]
            self.assertEqual(body, b"".join(chunks))
            self.assertLessEqual(max(map(len, chunks)), 256 * 1024)
            self.assertEqual(3, len(chunks))

        return self.play(story)
