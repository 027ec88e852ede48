"""What an operator sees and does."""

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import ClaimBatch, Settlement
from smtprelay.model.outcome import Delivered, Failed, Uncertain
from smtprelay.model.queue import Edit, Selection
from tests.behaviours.spool_stories import BODY, SpoolStories, done
from tests.listed import listed


class OperatorContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    def test_a_retry_after_failure_is_a_new_generation(self):
        """The provider sees a new operation, and only the recipients that failed get it."""

        async def story(spool: Spool) -> None:
            await self.send(spool, "a@example.com", "b@example.com")
            (claim,) = (await spool.claim()).claims
            await spool.settle(
                claim,
                Settlement(
                    state="failed",
                    outcomes={"a@example.com": Delivered("x"), "b@example.com": Failed("no")},
                    closed={"a@example.com": "delivered", "b@example.com": "failed"},
                ),
            )
            edited = await spool.admin.edit(
                Selection(ids=(claim.delivery.id,)), Edit(action="retry", who="ops")
            )
            self.assertEqual([claim.delivery.id], list(edited.ids))
            (again,) = (await spool.claim()).claims
            self.assertEqual(("b@example.com",), again.delivery.envelope.addresses)
            self.assertNotEqual(claim.delivery.operation_id, again.delivery.operation_id)
            self.assertEqual(BODY, await spool.body(again.delivery).whole())

        return self.play(story)

    def test_a_retry_before_its_time(self):
        """A deferred delivery that an operator retries is due now, as the same operation."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            await spool.settle(claim, Settlement(state="deferred", outcomes={}, due=9e9))
            await spool.admin.edit(Selection(everything=True), Edit(action="retry", who="ops"))
            (again,) = (await spool.claim()).claims
            self.assertEqual(claim.delivery.operation_id, again.delivery.operation_id)

        return self.play(story)

    def test_a_retry_of_what_failed_in_doubt(self):
        """It may have arrived: the provider is asked for the operation that it may know first."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            lost, over = {"anna@example.com": Uncertain("cut")}, {"anna@example.com": "failed"}
            await spool.settle(claim, Settlement(state="failed", outcomes=lost, closed=over, uncertain=True))
            await spool.admin.edit(Selection(ids=(claim.delivery.id,)), Edit(action="retry", who="ops"))
            (again,) = (await spool.claim()).claims
            self.assertEqual(
                (True, claim.delivery.operation_id), (again.uncertain, again.delivery.operation_id)
            )

        return self.play(story)

    def test_hold_release_and_delete(self):
        """Held mail is not claimed until released; deleted mail ends as such, with who and why."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            chosen = Selection(ids=(self.draft().id[:12],))
            self.assertEqual(1, (await spool.admin.edit(chosen, Edit(action="hold", who="ops"))).count)
            self.assertEqual([], list((await spool.claim()).claims))
            self.assertEqual(1, (await spool.admin.stats()).states["held"])
            self.assertEqual(1, (await spool.admin.edit(chosen, Edit(action="release", who="ops"))).count)
            delete = Edit(action="delete", who="ops", why="spam")
            self.assertEqual(1, (await spool.admin.edit(chosen, delete)).count)
            again = await spool.admin.edit(chosen, delete)
            self.assertEqual((0, {"deleted already": 1}), (again.count, dict(again.left)))
            (detail,) = await spool.admin.show(self.draft().id)
            self.assertEqual(
                [("hold", "by ops"), ("release", "by ops"), ("delete", "by ops: spam")],
                [(each.outcome, each.reason) for each in detail.history],
            )
            self.assertEqual("deleted", detail.summary.state)

        return self.play(story)

    def test_an_act_is_no_attempt(self):
        """What an operator does stands in the history and is not counted as a try."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            await spool.settle(claim, Settlement(state="deferred", outcomes={}, due=9e9))
            for action in ("hold", "release"):
                await spool.admin.edit(Selection(everything=True), Edit(action=action, who="ops"))
            (detail,) = await spool.admin.show(self.draft().id)
            self.assertEqual((3, 1), (len(detail.history), detail.summary.attempts))

        return self.play(story)

    def test_an_edit_leaves_attempts_alone(self):
        """A delivery under way is neither held nor deleted from under its attempt."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            edited = await spool.admin.edit(Selection(everything=True), Edit(action="delete", who="o"))
            self.assertEqual((0, {"under way": 1}), (edited.count, dict(edited.left)))
            self.assertTrue(await spool.settle(claim, done(claim)))

        return self.play(story)

    def test_an_edit_wants_to_know_what(self):
        """Without a filter nothing is edited by mistake; an unknown action or id is named."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            for selection, action, error in (
                (Selection(), "delete", ValueError),
                (Selection(everything=True), "explode", ValueError),
                (Selection(states=("delivered",)), "retry", ValueError),
                (Selection(everything=True), "reroute", ValueError),
                (Selection(ids=("ZZZZ",)), "delete", LookupError),
                (Selection(ids=("",)), "delete", LookupError),
            ):
                with self.assertRaises(error):
                    await spool.admin.edit(selection, Edit(action=action, who="ops"))
            self.assertEqual(1, len(await listed(spool, Selection())))

        return self.play(story)

    def test_an_ambiguous_id_names_two(self):
        """The beginning of several ids is refused with examples."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1)
            await self.send(spool, number=2)
            with self.assertRaises(LookupError) as caught:
                await spool.admin.show(self.draft(number=1).id[:4])
            self.assertIn(self.draft(number=1).id, str(caught.exception))

        return self.play(story)

    def test_filters(self):
        """Sender, recipient, provider and state narrow the list; ``*`` and case do not matter."""

        async def story(spool: Spool) -> None:
            await self.send(spool, "Anna@Example.com", number=1)
            await self.send(spool, "bob@example.net", number=2, provider="other")
            for selection, expected in (
                (Selection(recipient="*@example.com"), 1),
                (Selection(recipient="bob_example.net"), 0),
                (Selection(sender="SCAN@*"), 2),
                (Selection(provider="other"), 1),
                (Selection(states=("held",)), 0),
                (Selection(limit=1), 1),
            ):
                self.assertEqual(expected, len(await listed(spool, selection)), selection)

        return self.play(story)

    def test_a_sweep_forgets_what_ended_long_ago(self):
        """Finished messages older than the bound go, a few at a time; what is alive stays."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number)
            for claim in (await spool.claim()).claims:
                await spool.settle(claim, done(claim))
            self.clock.advance(100)
            now = self.clock.seconds()
            self.assertEqual(0, await spool.maintenance.sweep(before=now - 200))
            self.assertEqual(
                [1, 1, 0], [await spool.maintenance.sweep(before=now, limit=1) for _ in range(3)]
            )
            self.assertEqual(1, len(await listed(spool, Selection())))

        return self.play(story)

    def test_the_stock_is_counted(self):
        """The counts by state and lane, and the oldest message, are those of what is there."""

        async def story(spool: Spool) -> None:
            received = self.clock.seconds()
            for number in (1, 2, 3):
                await self.send(spool, number=number)
                self.clock.advance(1)
            work: ClaimBatch = await spool.claim()
            await spool.settle(work.claims[0], Settlement(state="deferred", outcomes={}, due=9e9))
            stats = await spool.admin.stats()
            self.assertEqual({"queued": 1, "active": 1, "deferred": 1, "held": 0}, dict(stats.states))
            self.assertEqual(received, stats.oldest)
            (lane,) = [each for each in stats.lanes if each.provider == "main"]
            self.assertEqual((2, 1), (lane.waiting, lane.active))

        return self.play(story)
