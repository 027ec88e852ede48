"""An operator's changes: reroutes, deletions that are told, later retries, in bulk and dry."""

from attrs import evolve

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Block, NewMessage, Settlement
from smtprelay.model.message import Delivery, Draft, Envelope, Planned, Recipient
from smtprelay.model.outcome import Deferred, Failed
from smtprelay.model.queue import Edit, Selection
from smtprelay.model.queue_admin import Prepared
from tests.behaviours.spool_stories import SpoolStories, done
from tests.listed import listed

EVERYTHING = Selection(everything=True)


class ChangeContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    async def to_box(self, _delivery: Delivery, _edit: Edit) -> Prepared:
        return Prepared(lane="box")

    async def one_deferred(self, spool: Spool, reason: str = "busy"):
        """Send a mail that its provider defers for long; return the claim."""
        await self.send(spool)
        (claim,) = (await spool.claim()).claims
        outcomes = {"anna@example.com": Deferred(reason)}
        await spool.settle(
            claim, Settlement(state="deferred", outcomes=outcomes, reason=reason, due=9e8, tries=3)
        )
        return claim

    def test_a_reroute_is_a_new_operation_elsewhere(self):
        """The mail goes at once, in the lane that was prepared, with all its tries before it."""

        async def story(spool: Spool) -> None:
            before = await self.one_deferred(spool)
            reroute = Edit(action="reroute", provider="other", who="ops", why="quota")
            edited = await spool.admin.edit(EVERYTHING, reroute, "", self.to_box)
            self.assertEqual([before.delivery.id], edited.ids)
            (claim,) = (await spool.claim()).claims
            self.assertEqual(("other", "box", 0), (claim.delivery.provider, claim.delivery.lane, claim.tries))
            self.assertNotEqual(before.delivery.operation_id, claim.delivery.operation_id)
            (detail,) = await spool.admin.show(claim.delivery.message)
            act = detail.history[1]
            self.assertEqual(
                ("reroute", "main", "to other, by ops: quota"), (act.outcome, act.provider, act.reason)
            )

        return self.play(story)

    def test_only_attempts_are_numbered(self):
        """What an operator did stands between them without a number, and leaves no gap."""

        async def story(spool: Spool) -> None:
            claim = await self.one_deferred(spool)
            for action in ("hold", "release"):
                await spool.admin.edit(EVERYTHING, Edit(action=action, who="ops"))
            await spool.claim()
            (detail,) = await spool.admin.show(claim.delivery.message)
            numbered = [f"{one.outcome} {one.number}" for one in detail.history]
            self.assertEqual(["deferred 1", "hold 0", "release 0", " 2"], numbered)
            self.assertEqual(2, detail.summary.attempts)

        return self.play(story)

    def test_blocked_time_goes_with_a_reroute(self):
        """What a mail had waited in vain makes it no older where it goes on."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            await spool.block(Block(provider="main", until=9e8, reason="401"))
            self.clock.advance(1000)
            await spool.admin.edit(
                EVERYTHING, Edit(action="reroute", provider="other", who="o"), "", self.to_box
            )
            self.clock.advance(5)
            (claim,) = (await spool.claim()).claims
            self.assertEqual(5, claim.age)

        return self.play(story)

    def test_what_does_not_fit_is_not_rerouted(self):
        """What is refused for one delivery is told, and leaves it as it is."""

        async def refuse(_delivery: Delivery, _edit: Edit) -> Prepared:
            return Prepared(refusal="too large")

        async def story(spool: Spool) -> None:
            await self.send(spool)
            edited = await spool.admin.edit(
                EVERYTHING, Edit(action="reroute", provider="other", who="o"), "", refuse
            )
            self.assertEqual((0, {"too large": 1}), (edited.count, dict(edited.left)))
            self.assertEqual("main", (await listed(spool, Selection()))[0].provider)

        return self.play(story)

    def test_what_may_have_arrived_is_rerouted_by_force_only(self):
        """An uncertain delivery stays where its provider can still be asked, unless it is forced."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            await spool.claim()
            await spool.recover()
            reroute = Edit(action="reroute", provider="other", who="o")
            edited = await spool.admin.edit(EVERYTHING, reroute, "", self.to_box)
            self.assertEqual(0, edited.count)
            self.assertIn("uncertain", next(iter(edited.left)))
            edited = await spool.admin.edit(EVERYTHING, evolve(reroute, force=True), "", self.to_box)
            self.assertEqual(1, edited.count)
            (claim,) = (await spool.claim()).claims
            self.assertEqual(("other", False), (claim.delivery.provider, claim.uncertain))

        return self.play(story)

    def test_held_mail_stays_held_when_it_is_rerouted(self):
        """Who held it did not mean its provider; released it goes to the new one."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            await spool.admin.edit(EVERYTHING, Edit(action="hold", who="o"))
            await spool.admin.edit(
                EVERYTHING, Edit(action="reroute", provider="other", who="o"), "", self.to_box
            )
            self.assertEqual((), tuple((await spool.claim()).claims))
            await spool.admin.edit(EVERYTHING, Edit(action="release", who="o"))
            self.assertEqual("other", (await spool.claim()).claims[0].delivery.provider)

        return self.play(story)

    def test_what_failed_is_rerouted(self):
        """Those recipients who failed, and no others, get it from the other provider."""
        seen = []

        async def prepare(delivery: Delivery, _edit: Edit) -> Prepared:
            seen.append(delivery.envelope.addresses)
            return Prepared()

        async def story(spool: Spool) -> None:
            await self.send(spool, "a@example.com", "b@example.com")
            (claim,) = (await spool.claim()).claims
            part = done(claim)
            outcomes = {**part.outcomes, "b@example.com": Failed("no")}
            closed = {**part.closed, "b@example.com": "failed"}
            await spool.settle(claim, evolve(part, state="failed", outcomes=outcomes, closed=closed))
            reroute = Edit(action="reroute", provider="other", who="o")
            await spool.admin.edit(Selection(states=("failed",)), reroute, "", prepare)
            (again,) = (await spool.claim()).claims
            self.assertEqual(("b@example.com",), again.delivery.envelope.addresses)
            self.assertEqual([("b@example.com",)], seen)

        return self.play(story)

    def test_a_deletion_is_told(self):
        """The bounce is accepted with the deletion; without being asked for there is none."""

        async def prepare(delivery: Delivery, _edit: Edit) -> Prepared:
            to = (Recipient(address=delivery.envelope.sender),)
            envelope = Envelope(sender="", recipients=to)
            draft: Draft = evolve(self.draft(number=9), envelope=envelope, bounce_of=delivery.message)
            planned = [Planned(route="r", provider="main", lane="", recipients=to)]
            return Prepared(bounce=NewMessage(draft=draft, body=b"sorry", planned=planned))

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1)
            await self.send(spool, number=2)
            first, second = await listed(spool, Selection())
            delete = Edit(action="delete", who="ops", why="spam")
            await spool.admin.edit(Selection(ids=(first.id,)), delete, "", prepare)
            self.assertEqual([second.id], [line.id for line in await listed(spool, Selection())])
            await spool.admin.edit(Selection(ids=(second.id,)), evolve(delete, bounce=True), "", prepare)
            (bounce,) = await listed(spool, Selection())
            self.assertEqual(("", "scan@example.com"), (bounce.sender, bounce.recipients[0].address))
            (detail,) = await spool.admin.show(second.message)
            self.assertEqual(
                ("deleted", "deleted by ops: spam"), (detail.summary.state, detail.summary.reason)
            )

        return self.play(story)

    def test_a_deletion_of_what_has_bounced(self):
        """Its sender knows, so there is no second bounce; he does not of what failed anew, in silence."""
        bounced: list[str] = []

        async def prepare(delivery: Delivery, _edit: Edit) -> Prepared:
            bounced.append(delivery.id)
            return Prepared()

        async def fail(spool: Spool, *, kind: str) -> None:
            claims = (await spool.claim()).claims
            (claim,) = (each for each in claims if each.delivery.provider == "main")
            notice = self.draft("scan@example.com", sender="", number=50 + len(bounced))
            planned = Planned(route="r", provider="other", lane="", recipients=notice.envelope.recipients)
            told = NewMessage(draft=notice, body=b"Subject: Sorry\r\n\r\n", planned=[planned], kind=kind)
            outcomes = {"anna@example.com": Failed("no", "5.1.1")}
            closed = {"anna@example.com": "failed"}
            settlement = Settlement(
                state="failed", outcomes=outcomes, closed=closed, bounce=told if kind else None
            )
            await spool.settle(claim, settlement)

        async def story(spool: Spool) -> None:
            delete = Edit(action="delete", who="ops", bounce=True)
            retry = Edit(action="retry", who="ops")
            failed = Selection(states=("failed",), provider="main")
            await self.send(spool, number=1)
            await fail(spool, kind="failure")
            await spool.admin.edit(failed, delete, "", prepare)
            self.assertEqual(bounced, [])
            await self.send(spool, number=2)
            await fail(spool, kind="")
            (second,) = await listed(spool, failed)
            await spool.admin.edit(failed, delete, "", prepare)
            self.assertEqual(bounced, [second.id])
            await self.send(spool, number=3)
            await fail(spool, kind="failure")
            (third,) = await listed(spool, failed)
            await spool.admin.edit(failed, retry)
            await fail(spool, kind="")
            await spool.admin.edit(failed, delete, "", prepare)
            self.assertEqual(bounced, [second.id, third.id])

        return self.play(story)

    def test_a_retry_at_a_time(self):
        """It waits until then, and no longer."""

        async def story(spool: Spool) -> None:
            await self.one_deferred(spool)
            at = self.clock.seconds() + 60
            await spool.admin.edit(EVERYTHING, Edit(action="retry", at=at, who="o"))
            work = await spool.claim()
            self.assertEqual(((), at), (tuple(work.claims), work.due))
            self.clock.advance(60)
            self.assertEqual(1, len((await spool.claim()).claims))

        return self.play(story)

    def test_a_dry_run_changes_nothing(self):
        """It says what would be changed and what would be left, to the last of them."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number)
            await spool.claim(limit=1)
            edited = await spool.admin.edit(EVERYTHING, Edit(action="delete", who="o", dry_run=True))
            self.assertEqual((2, {"under way": 1}), (edited.count, dict(edited.left)))
            states = sorted(line.state for line in await listed(spool, Selection()))
            self.assertEqual(["active", "queued", "queued"], states)

        return self.play(story)

    def test_what_comes_in_meanwhile_is_not_meant(self):
        """The steps of a change end though mail comes in between them, and leave that alone."""

        async def story(spool: Spool) -> None:
            for number in range(1, 4):
                await self.send(spool, number=number)
            arrived = iter(range(10, 20))

            async def prepare(_delivery: Delivery, _edit: Edit) -> Prepared:
                await self.send(spool, number=next(arrived))
                return Prepared()

            reroute = Edit(action="reroute", provider="other", who="o")
            edited = await spool.admin.edit(EVERYTHING, reroute, "", prepare)
            self.assertEqual((3, ""), (edited.count, edited.mark))
            self.assertEqual(3, len(await listed(spool, Selection(provider="main"))))

        return self.play(story)

    def test_what_changes_meanwhile_is_left_alone(self):
        """A delivery that is claimed between being looked at and being changed is not touched."""

        async def story(spool: Spool) -> None:
            await self.send(spool)

            async def prepare(_delivery: Delivery, _edit: Edit) -> Prepared:
                self.claims = (await spool.claim()).claims
                return Prepared()

            reroute = Edit(action="reroute", provider="other", who="o")
            edited = await spool.admin.edit(EVERYTHING, reroute, "", prepare)
            self.assertEqual((0, {"changed meanwhile": 1}), (edited.count, dict(edited.left)))
            self.assertTrue(await spool.settle(self.claims[0], done(self.claims[0])))

        return self.play(story)

    def test_delivered_mail_never_goes_again(self):
        """No action touches it, and it says so."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            await spool.settle(claim, done(claim))
            for action in ("retry", "hold", "release", "delete", "reroute"):
                chosen = Selection(ids=(claim.delivery.id,))
                edited = await spool.admin.edit(
                    chosen, Edit(action=action, provider="other", who="o"), "", self.to_box
                )
                self.assertEqual((0, {"delivered already": 1}), (edited.count, dict(edited.left)), action)

        return self.play(story)

    def test_the_stored_message_is_read(self):
        """By the beginning of its id, as it came; what is not there is named."""

        async def story(spool: Spool) -> None:
            body = b"Subject: x\r\n\r\n" + b"y" * 300_000
            await self.send(spool, body=body)
            self.assertEqual(body, await (await spool.admin.content(self.draft().id[:12])).whole())
            self.assertEqual(body, await (await spool.admin.content(f"{self.draft().id}.1")).whole())
            with self.assertRaises(LookupError):
                await spool.admin.content("ZZZ")

        return self.play(story)
