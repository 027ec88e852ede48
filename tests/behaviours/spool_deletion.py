"""What an operator deletes is gone: nothing sends it again, and its body is not there any more."""

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Claim, Settlement
from smtprelay.model.message import Planned, Recipient
from smtprelay.model.outcome import Deferred, Delivered, Failed
from smtprelay.model.queue import ACTIONS, STATES, Edit, Selection
from smtprelay.model.queue_admin import Prepared
from tests.behaviours.spool_maintenance import refused
from tests.behaviours.spool_stories import BODY, SpoolStories, done
from tests.listed import listed

EVERYTHING = Selection(everything=True)
DELETE = Edit(action="delete", who="ops", why="spam")

#: Whatever an operator may mean when he says "all".
WIDE = (EVERYTHING, Selection(states=("failed",)), Selection(sender="*"), Selection(error="*"))


class DeletionContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    async def send_and_claim(self, spool: Spool, *recipients: str, number: int = 1) -> Claim:
        await self.send(spool, *recipients, number=number)
        (claim,) = (await spool.claim()).claims
        return claim

    async def send_two_ways(self, spool: Spool) -> None:
        """Send one message that goes two ways: ``<id>.1`` by main, ``<id>.2`` by other."""
        draft = self.draft("a@example.com", "b@example.com", number=1)
        planned = [
            Planned(route="r", provider=provider, lane="", recipients=(Recipient(address=address),))
            for provider, address in (("main", "a@example.com"), ("other", "b@example.com"))
        ]
        await spool.accept(draft, BODY, planned)

    async def delete(self, spool: Spool, *ids: str, by: Edit = DELETE) -> None:
        edited = await spool.admin.edit(Selection(ids=ids or (self.draft().id,)), by)
        self.assertEqual((len(ids) or 1, {}), (edited.count, dict(edited.left)))

    async def gone(self, spool: Spool, message: str) -> None:
        """Its body cannot be read, and why is told; nothing whatever sends it."""
        with self.assertRaises(LookupError) as caught:
            await spool.admin.content(message)
        self.assertIn("deleted by ops", str(caught.exception))

        async def prepare(*_: object) -> Prepared:
            return Prepared()

        for action in ACTIONS:
            for selection in (Selection(ids=(message,)), *WIDE):
                edit = Edit(action=action, provider="other", who="o")
                try:
                    edited = await spool.admin.edit(selection, edit, "", prepare)
                except ValueError as error:
                    self.assertIn(f"{action} does nothing to what is failed", str(error))
                else:
                    self.assertEqual([], list(edited.ids), (action, selection))
        await spool.recover()
        await spool.maintenance.reclaim()
        await spool.release()
        self.clock.advance(1e6)
        self.assertEqual([], list((await spool.claim()).claims))
        self.assertEqual([], list((await spool.maintenance.check()).findings))
        self.assertEqual({"deleted"}, {each.summary.state for each in await spool.admin.show(message)})

    def test_whatever_waits(self):
        """Queued, deferred, held by hand, held by its route or failed: it is gone, and its history is not."""

        async def story(spool: Spool) -> None:
            later = Settlement(state="deferred", outcomes={"anna@example.com": Deferred("x")}, due=9e8)
            ends = {2: later, 3: Settlement(state="held", outcomes={}, reason="to see"), 4: None}
            for number in (2, 3, 4):
                claim = await self.send_and_claim(spool, number=number)
                await spool.settle(claim, ends[number] or refused(claim))
            await self.send(spool, number=1)
            await self.send(spool, number=5)
            messages = [self.draft(number=number).id for number in range(1, 6)]
            await spool.admin.edit(Selection(ids=messages[4:]), Edit(action="hold", who="o"))
            await self.delete(spool, *messages)
            for message in messages:
                (detail,) = await spool.admin.show(message)
                self.assertEqual("deleted by ops: spam", detail.summary.reason)
                act = detail.history[-1]
                self.assertEqual(("delete", "by ops: spam"), (act.outcome, act.reason))
                await self.gone(spool, message)
            self.assertEqual(0, sum((await spool.admin.stats()).states.values()))

        return self.play(story)

    def test_who_had_it_and_who_failed(self):
        """The recipients keep what became of them; those that were still open are deleted."""

        async def story(spool: Spool) -> None:
            people = ("a@example.com", "b@example.com", "c@example.com")
            claim = await self.send_and_claim(spool, *people)
            outcomes = {people[0]: Delivered("1"), people[1]: Failed("no"), people[2]: Deferred("busy")}
            closed = {people[0]: "delivered", people[1]: "failed"}
            await spool.settle(claim, Settlement(state="deferred", outcomes=outcomes, closed=closed, due=9e8))
            await self.delete(spool)
            (detail,) = await spool.admin.show(claim.delivery.message)
            states = [each.state for each in detail.summary.recipients]
            self.assertEqual(["delivered", "failed", "deleted"], states)
            await self.gone(spool, claim.delivery.message)

        return self.play(story)

    def test_in_doubt(self):
        """One that may have arrived, for its answer was lost, is not tried again either."""

        async def story(spool: Spool) -> None:
            claim = await self.send_and_claim(spool)
            await spool.settle(claim, Settlement(state="deferred", outcomes={}, due=9e8, uncertain=True))
            await self.delete(spool)
            await self.gone(spool, claim.delivery.message)

        return self.play(story)

    def test_by_a_filter(self):
        """What matches goes, in bulk; failures only if they are asked for; the rest is delivered."""

        async def story(spool: Spool) -> None:
            failed = await self.send_and_claim(spool, number=1)
            await spool.settle(failed, refused(failed))
            for number in range(2, 6):
                await self.send(spool, f"{'ab'[number % 2]}@example.com", number=number)
            self.assertEqual(2, (await spool.admin.edit(Selection(recipient="a@*"), DELETE)).count)
            self.assertEqual(2, (await spool.admin.edit(EVERYTHING, Edit(action="hold", who="o"))).count)
            self.assertEqual(1, (await spool.admin.edit(Selection(states=("failed",)), DELETE)).count)
            await spool.admin.edit(EVERYTHING, Edit(action="release", who="o"))
            claims = (await spool.claim()).claims
            self.assertEqual({"b@example.com"}, {each.delivery.envelope.addresses[0] for each in claims})
            self.assertEqual([True, True], [await spool.settle(each, done(each)) for each in claims])
            found = await listed(spool, Selection(states=("deleted",)))
            self.assertEqual([4, 2, 1], [self.number(each.message) for each in found])
            await self.gone(spool, failed.delivery.message)

        return self.play(story)

    def test_many_at_once(self):
        """All are gone, with those of two deliveries; one whose other delivery waits keeps its body."""

        async def story(spool: Spool) -> None:
            await self.send_two_ways(spool)
            for number in range(2, 40):
                await self.send(spool, number=number)
            messages = [self.draft(number=number).id for number in range(1, 40)]
            self.assertEqual(39, (await spool.admin.edit(Selection(provider="main"), DELETE)).count)
            self.assertEqual(
                ["deleted", "queued"], [d.summary.state for d in await spool.admin.show(messages[0])]
            )
            await spool.admin.content(messages[0])
            await self.send(spool, number=40)
            self.assertEqual(2, (await spool.admin.edit(EVERYTHING, DELETE)).count)
            for message in (messages[0], messages[1], messages[31], messages[32], messages[-1]):
                await self.gone(spool, message)

        return self.play(story)

    def number(self, message: str) -> int:
        return next(number for number in range(1, 10) if self.draft(number=number).id == message)

    def test_found_beside_the_rest(self):
        """A list of all that is over has what was deleted, once; a list of what waits has not."""

        async def story(spool: Spool) -> None:
            await spool.settle(claim := await self.send_and_claim(spool, number=1), done(claim))
            await spool.settle(claim := await self.send_and_claim(spool, number=2), refused(claim))
            await self.send(spool, number=3)
            await self.delete(spool, self.draft(number=3).id)
            for states, numbers in (
                ((), []),
                (("deleted",), [3]),
                (("failed", "deleted"), [3, 2]),
                (("delivered", "failed", "deleted"), [3, 2, 1]),
                (STATES, [3, 2, 1]),
            ):
                found = await listed(spool, Selection(states=states, everything=True))
                self.assertEqual(sorted(numbers), sorted(self.number(each.message) for each in found), states)

        return self.play(story)

    def test_while_an_attempt_is_under_way(self):
        """It is left alone and told so; once the attempt has ended it can be deleted, and that is the end."""

        async def story(spool: Spool) -> None:
            claim = await self.send_and_claim(spool)
            edited = await spool.admin.edit(Selection(ids=(claim.delivery.id,)), DELETE)
            self.assertEqual((0, {"under way": 1}), (edited.count, dict(edited.left)))
            self.assertEqual(BODY, await spool.body(claim.delivery).whole())
            await spool.settle(claim, Settlement(state="deferred", outcomes={}, due=9e8))
            await self.delete(spool)
            await self.gone(spool, claim.delivery.message)

        return self.play(story)

    def test_an_outcome_that_comes_too_late(self):
        """A node that was given up, and whose mail was then deleted, changes nothing with what it learns."""

        async def story(spool: Spool) -> None:
            claim = await self.send_and_claim(spool)
            await spool.recover()
            await self.delete(spool)
            for settlement in (done(claim), Settlement(state="deferred", outcomes={}, due=0.0)):
                self.assertFalse(await spool.settle(claim, settlement))
            await self.gone(spool, claim.delivery.message)

        return self.play(story)

    def test_one_of_two_ways(self):
        """The body stays for the other delivery, and goes when that has it; in whatever order."""

        async def story(spool: Spool) -> None:
            await self.send_two_ways(spool)
            message = self.draft().id
            await self.delete(spool, f"{message}.1")
            self.assertEqual(BODY, await (await spool.admin.content(message)).whole())
            with self.assertRaises(LookupError) as caught:
                await spool.admin.content(f"{message}.1")
            self.assertIn("deleted by ops: spam", str(caught.exception))
            (claim,) = (await spool.claim()).claims
            self.assertEqual((2, BODY), (claim.delivery.n, await spool.body(claim.delivery).whole()))
            self.assertTrue(await spool.settle(claim, done(claim)))
            with self.assertRaises(LookupError):
                await (await spool.admin.content(message)).whole()
            states = [each.summary.state for each in await spool.admin.show(message)]
            self.assertEqual(["deleted", "delivered"], states)
            self.assertEqual([], list((await spool.maintenance.check()).findings))

        return self.play(story)

    def test_the_second_of_two_ways(self):
        """Of a message that one recipient has, the body goes with the deletion of the rest."""

        async def story(spool: Spool) -> None:
            await self.send_two_ways(spool)
            first = next(each for each in (await spool.claim()).claims if each.delivery.n == 1)
            await spool.settle(first, done(first))
            await spool.release()
            await self.delete(spool, f"{self.draft().id}.2")
            with self.assertRaises(LookupError):
                await (await spool.admin.content(self.draft().id)).whole()
            self.assertEqual([], list((await spool.maintenance.check()).findings))

        return self.play(story)

    def test_beside_a_failure(self):
        """As long as the other delivery may be retried the body stays for it, and for it alone."""

        async def story(spool: Spool) -> None:
            await self.send_two_ways(spool)
            first = next(each for each in (await spool.claim()).claims if each.delivery.n == 1)
            await spool.settle(first, refused(first))
            await spool.release()
            await self.delete(spool, f"{self.draft().id}.2")
            edited = await spool.admin.edit(Selection(ids=(self.draft().id,)), Edit(action="retry", who="o"))
            self.assertEqual(([first.delivery.id], {"deleted already": 1}), (edited.ids, dict(edited.left)))
            (claim,) = (await spool.claim()).claims
            self.assertEqual(BODY, await spool.body(claim.delivery).whole())
            self.assertTrue(await spool.settle(claim, done(claim)))
            self.assertEqual([], list((await spool.maintenance.check()).findings))

        return self.play(story)

    def test_where_bodies_are_kept(self):
        """What is deleted whole goes at once all the same."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            await self.delete(spool)
            await self.gone(spool, self.draft().id)

        return self.play(story, keeps_bodies=True)

    def test_where_the_body_of_the_other_is_kept(self):
        """What somebody has is kept as long as other mail, whatever was deleted of it."""

        async def story(spool: Spool) -> None:
            await self.send_two_ways(spool)
            message = self.draft().id
            await self.delete(spool, f"{message}.1")
            (claim,) = (await spool.claim()).claims
            await spool.settle(claim, done(claim))
            self.assertEqual(BODY, await (await spool.admin.content(message)).whole())
            self.assertEqual([], list((await spool.maintenance.check()).findings))
            self.assertEqual(1, await spool.maintenance.sweep_bodies(9e9))
            with self.assertRaises(LookupError):
                await (await spool.admin.content(message)).whole()
            self.assertEqual([], list((await spool.maintenance.check()).findings))

        return self.play(story, keeps_bodies=True)

    def test_a_large_body(self):
        """All its chunks are gone."""

        async def story(spool: Spool) -> None:
            await self.send(spool, body=BODY + b"x" * 600_000)
            await self.delete(spool)
            self.assertEqual(0, (await spool.maintenance.check()).bytes)

        return self.play(story)

    def test_its_history_is_forgotten_as_that_of_other_mail(self):
        """For as long as history is kept, from the deletion on."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            self.clock.advance(100)
            await self.delete(spool)
            now = self.clock.seconds()
            self.assertEqual(
                [0, 1, 0], [await spool.maintenance.sweep(before=at) for at in (now, now + 1, now + 1)]
            )
            with self.assertRaises(LookupError):
                await spool.admin.show(self.draft().id)

        return self.play(story)

    def test_counted_anew(self):
        """Lanes that are counted anew count nothing of it."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1)
            await self.send(spool, number=2)
            await self.delete(spool)
            self.assertEqual(0, await spool.maintenance.recount())
            self.assertEqual(1, (await spool.admin.stats()).states["queued"])

        return self.play(story)
