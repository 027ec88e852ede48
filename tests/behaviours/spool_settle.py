"""What became of an attempt is recorded once."""

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Block, NewMessage, Settlement
from smtprelay.model.message import Planned
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Uncertain
from smtprelay.model.queue import Edit, Selection
from tests.behaviours.spool_stories import BODY, SpoolStories, done
from tests.listed import listed


class SettleContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    def test_a_delivered_message_is_gone_from_the_queue(self):
        """It stays in the history with the provider's id; its body is dropped at once."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            self.assertTrue(await spool.settle(claim, done(claim)))
            self.assertEqual([], list(await listed(spool, Selection())))
            (detail,) = await spool.admin.show(claim.delivery.message)
            (recipient,) = detail.summary.recipients
            self.assertEqual(("delivered", "op-1"), (recipient.state, recipient.provider_id))
            self.assertEqual(["delivered"], [each.outcome for each in detail.history])
            with self.assertRaises(LookupError):
                await spool.body(claim.delivery).whole()

        return self.play(story)

    def test_an_outcome_counts_once(self):
        """The same claim settled twice, or a claim of an earlier attempt, changes nothing."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            later = Settlement(state="deferred", outcomes={}, due=self.clock.seconds())
            self.assertTrue(await spool.settle(claim, later))
            self.assertFalse(await spool.settle(claim, done(claim)))
            (again,) = (await spool.claim()).claims
            self.assertFalse(await spool.settle(claim, done(claim)))
            self.assertTrue(await spool.settle(again, done(again)))
            stats = await spool.admin.stats()
            self.assertEqual({"queued": 0, "active": 0, "deferred": 0, "held": 0}, dict(stats.states))

        return self.play(story)

    def test_recipients_settle_one_by_one(self):
        """Only the recipients that are still open are in the next attempt."""

        async def story(spool: Spool) -> None:
            await self.send(spool, "a@example.com", "b@example.com", "c@example.com")
            (claim,) = (await spool.claim()).claims
            await spool.settle(
                claim,
                Settlement(
                    state="deferred",
                    outcomes={
                        "a@example.com": Delivered("op-1"),
                        "b@example.com": Failed("no such mailbox", "5.1.1"),
                        "c@example.com": Deferred("full"),
                    },
                    closed={"a@example.com": "delivered", "b@example.com": "failed"},
                    due=self.clock.seconds(),
                ),
            )
            (again,) = (await spool.claim()).claims
            self.assertEqual(("c@example.com",), again.delivery.envelope.addresses)
            (line,) = await listed(spool, Selection())
            self.assertEqual(
                [("delivered", ""), ("failed", "no such mailbox"), ("open", "full")],
                [(each.state, each.reason) for each in line.recipients],
            )
            (detail,) = await spool.admin.show(line.message)
            self.assertEqual("delivered+failed+deferred", detail.history[0].outcome)

        return self.play(story)

    def test_what_the_provider_ended_goes_as_a_new_operation(self):
        """Ended without taking the mail, it gets another name; merely deferred, it keeps its own."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            operations = [claim.delivery.operation_id]
            for outcome in (
                Deferred("busy"),
                Blocked("no right"),
                Uncertain("cut"),
                Deferred("canceled", closed=True),
                Failed("refused, and held by the route"),
            ):
                due = self.clock.seconds()
                settlement = Settlement(state="queued", outcomes={"anna@example.com": outcome}, due=due)
                await spool.settle(claim, settlement)
                (claim,) = (await spool.claim()).claims
                operations.append(claim.delivery.operation_id)
            first, busy, blocked, cut, canceled, refused = operations
            self.assertEqual([first] * 3, [busy, blocked, cut])
            self.assertEqual(3, len({first, canceled, refused}))

        return self.play(story)

    def test_a_bounce_is_accepted_with_the_settlement(self):
        """The notice and the failure it reports are in one transaction."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            notice = self.draft("scan@example.com", sender="", number=7)
            planned = Planned(route="r", provider="main", lane="", recipients=notice.envelope.recipients)
            await spool.settle(
                claim,
                Settlement(
                    state="failed",
                    outcomes={"anna@example.com": Failed("no", "5.1.1")},
                    closed={"anna@example.com": "failed"},
                    bounce=NewMessage(draft=notice, body=b"Subject: Sorry\r\n\r\n", planned=[planned]),
                ),
            )
            (bounce,) = (await spool.claim()).claims
            self.assertEqual(
                ("", ("scan@example.com",)),
                (bounce.delivery.envelope.sender, bounce.delivery.envelope.addresses),
            )

        return self.play(story)

    def test_an_event_and_a_bounce_may_come_together(self):
        """Both messages of ours are there when the settlement is, each with its subject."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            ours = []
            for number in (7, 8):
                draft = self.draft("x@example.com", sender="", number=number)
                planned = Planned(route="r", provider="main", lane="", recipients=draft.envelope.recipients)
                ours.append(NewMessage(draft=draft, body=b"{}", planned=[planned], subject=f"no. {number}"))
            failed = {"anna@example.com": Failed("no", "5.1.1")}
            await spool.settle(
                claim,
                Settlement(
                    state="failed",
                    outcomes=failed,
                    closed={"anna@example.com": "failed"},
                    bounce=ours[0],
                    event=ours[1],
                ),
            )
            lines = await listed(spool, Selection())
            self.assertEqual(["no. 7", "no. 8"], [line.subject for line in lines])

        return self.play(story)

    def test_failover_goes_on_in_the_other_lane(self):
        """A settlement that names another provider moves the delivery there, due at once."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            await spool.settle(
                claim, Settlement(state="queued", outcomes={}, provider="other", lane="box", reason="blocked")
            )
            (again,) = (await spool.claim()).claims
            self.assertEqual(("other", "box"), (again.delivery.provider, again.delivery.lane))

        return self.play(story)

    def test_a_failed_recipient_shows_at_the_end(self):
        """Though the last recipient has it, it ends failed when one failed earlier; it can go again."""

        async def story(spool: Spool) -> None:
            await self.send(spool, "a@example.com", "b@example.com")
            (claim,) = (await spool.claim()).claims
            await spool.settle(
                claim,
                Settlement(
                    state="queued",
                    outcomes={"a@example.com": Failed("no such mailbox"), "b@example.com": Deferred("busy")},
                    closed={"a@example.com": "failed"},
                ),
            )
            (claim,) = (await spool.claim()).claims
            await spool.settle(claim, done(claim))
            (line,) = await listed(spool, Selection(states=("failed",)))
            self.assertEqual(["failed", "delivered"], [each.state for each in line.recipients])
            await spool.admin.edit(Selection(ids=(line.id,)), Edit(action="retry", who="ops"))
            (claim,) = (await spool.claim()).claims
            self.assertEqual(("a@example.com",), claim.delivery.envelope.addresses)
            self.assertEqual(BODY, await spool.body(claim.delivery).whole())
            await spool.settle(claim, done(claim))
            (detail,) = await spool.admin.show(line.message)
            self.assertEqual("delivered", detail.summary.state)

        return self.play(story)

    def test_words_that_are_no_text_are_stored(self):
        """What a provider said, wrongly decoded, does not keep its outcome from being recorded."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            outcomes = {"anna@example.com": Deferred("\ud800 busy")}
            block = Block(provider="main", until=9e9, reason="\udcff")
            self.assertTrue(
                await spool.settle(
                    claim, Settlement(state="queued", outcomes=outcomes, reason="\ud800 busy", block=block)
                )
            )
            (line,) = await listed(spool, Selection())
            self.assertEqual(("\\ud800 busy", "\\udcff"), (line.reason, line.waiting_for))

        return self.play(story)
