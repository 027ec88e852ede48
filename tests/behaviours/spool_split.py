"""A delivery of several recipients becomes two of the same message."""

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Claim, Settlement
from smtprelay.model.outcome import Deferred, Delivered, Failed
from smtprelay.model.queue import SPLIT, Edit, Selection
from tests.behaviours.spool_stories import SpoolStories, done
from tests.listed import listed

PEOPLE = tuple(f"{name}@example.com" for name in "abcde")


class SplitContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    def halved(self, claim: Claim, *leaving: str, **more: object) -> Settlement:
        """Return the settlement of a request that was refused whole."""
        refused = Failed("one of them is no address", whole=True)
        return Settlement(
            **{
                "state": "queued",
                "outcomes": dict.fromkeys(claim.delivery.envelope.addresses, refused),
                "reason": refused.why,
                "due": self.clock.seconds(),
                "split": leaving,
                **more,
            }
        )

    async def claimed(self, spool: Spool, *people: str) -> Claim:
        await self.send(spool, *people, provider="other", lane="box")
        (claim,) = (await spool.claim()).claims
        return claim

    def test_both_halves_go_on(self):
        """Each has its recipients, a number and a history; to the provider both are new operations."""

        async def story(spool: Spool) -> None:
            claim = await self.claimed(spool, *PEOPLE)
            self.assertTrue(await spool.settle(claim, self.halved(claim, *PEOPLE[3:])))
            self.assertFalse(await spool.settle(claim, self.halved(claim, *PEOPLE[:1])))
            details = await spool.admin.show(claim.delivery.message)
            self.assertEqual([1, 2], [len(detail.history) for detail in details][::-1])
            self.assertEqual([SPLIT, SPLIT], [detail.history[-1].outcome for detail in details])
            self.assertIn(f"{claim.delivery.message}.2", details[0].history[-1].reason)
            self.assertIn(claim.delivery.id, details[1].history[-1].reason)
            self.assertEqual([1, 0], [detail.summary.attempts for detail in details])
            self.assertEqual(
                {"queued": 2, "active": 0, "deferred": 0, "held": 0}, (await spool.admin.stats()).states
            )
            seen = []
            for _ in range(2):
                (half,) = (await spool.claim()).claims
                delivery = half.delivery
                self.assertEqual(("other", "box", 2), (delivery.provider, delivery.lane, delivery.generation))
                self.assertEqual((0, 0, False), (half.tries, half.deferrals, half.uncertain))
                self.assertNotEqual(claim.delivery.operation_id, delivery.operation_id)
                self.assertEqual(claim.delivery.size, len(await spool.body(delivery).whole()))
                seen.append((delivery.n, delivery.envelope.addresses))
                await spool.settle(half, done(half))
            self.assertEqual([(1, PEOPLE[:3]), (2, PEOPLE[3:])], sorted(seen))
            self.assertEqual([], list(await listed(spool, Selection())))
            with self.assertRaises(LookupError):
                await spool.body(claim.delivery).whole()

        return self.play(story)

    def test_halves_are_halved_until_one_is_alone(self):
        """Only who is refused for himself fails; the numbers go on, and nothing counts as a try."""

        async def story(spool: Spool) -> None:
            claim = await self.claimed(spool, *PEOPLE)
            got: dict[str, str] = {}
            while claim is not None:
                people = claim.delivery.envelope.addresses
                self.assertEqual((0, 0), (claim.tries, claim.deferrals))
                if PEOPLE[2] not in people:
                    got.update(dict.fromkeys(people, "delivered"))
                    await spool.settle(claim, done(claim))
                elif len(people) > 1:
                    await spool.settle(claim, self.halved(claim, *people[len(people) // 2 :]))
                else:
                    got[people[0]] = "failed"
                    why = {people[0]: Failed("no address")}
                    await spool.settle(
                        claim, Settlement(state="failed", outcomes=why, closed={people[0]: "failed"})
                    )
                claim = next(iter((await spool.claim()).claims), None)
            self.assertEqual({each: "failed" if each == PEOPLE[2] else "delivered" for each in PEOPLE}, got)
            details = await spool.admin.show(self.draft().id)
            self.assertEqual(
                sorted(got.items()),
                sorted(
                    (each.address, each.state) for detail in details for each in detail.summary.recipients
                ),
            )

        return self.play(story)

    def test_what_is_closed_stays_where_it_was(self):
        """Only recipients that are open go on in the new delivery, with what was said of them."""

        async def story(spool: Spool) -> None:
            claim = await self.claimed(spool, *PEOPLE[:4])
            first, second, third, fourth = PEOPLE[:4]
            outcomes = {
                first: Delivered("op-1"),
                second: Deferred("busy"),
                third: Deferred("later"),
                fourth: Failed("no"),
            }
            closed = {first: "delivered", fourth: "failed"}
            split = self.halved(
                claim, first, third, fourth, outcomes=outcomes, closed=closed, state="deferred"
            )
            await spool.settle(claim, split)
            details = await spool.admin.show(claim.delivery.message)
            found = [
                [(each.address, each.state, each.reason) for each in one.summary.recipients]
                for one in details
            ]
            self.assertEqual(
                [
                    [(first, "delivered", ""), (second, "open", "busy"), (fourth, "failed", "no")],
                    [(third, "open", "later")],
                ],
                found,
            )
            self.clock.advance(1)
            claims = [claim for _ in range(2) for claim in (await spool.claim(1)).claims]
            self.assertEqual([2], sorted({claim.delivery.generation for claim in claims}))

        return self.play(story)

    def test_nothing_to_split(self):
        """Everybody, nobody or a stranger: the delivery goes on as one. So does one that is held."""

        async def story(spool: Spool) -> None:
            claim = await self.claimed(spool, *PEOPLE)
            for leaving in ((), PEOPLE, ("stranger@example.com",)):
                await spool.settle(claim, self.halved(claim, *leaving))
                (claim,) = (await spool.claim()).claims
                self.assertEqual((1, PEOPLE), (claim.delivery.n, claim.delivery.envelope.addresses))
            await spool.settle(claim, self.halved(claim, PEOPLE[0], state="held", due=None))
            self.assertEqual(1, len(await listed(spool, Selection())))

        return self.play(story)

    def test_it_may_wait_and_move_on_the_way(self):
        """Both halves are due when and where the settlement says."""

        async def story(spool: Spool) -> None:
            claim = await self.claimed(spool, *PEOPLE)
            due = self.clock.seconds() + 30
            await spool.settle(
                claim,
                self.halved(
                    claim, PEOPLE[0], state="deferred", due=due, provider="main", tries=2, counts=True
                ),
            )
            self.assertEqual(([], due), ([], (await spool.claim()).due))
            self.clock.advance(30)
            halves = (await spool.claim()).claims
            self.assertEqual(
                [("main", 2, 1)] * 2, [(c.delivery.provider, c.tries, c.deferrals) for c in halves]
            )

        return self.play(story)

    def test_again_is_a_new_operation(self):
        """Who was only near a refusal goes again as one that the provider has not seen."""

        async def story(spool: Spool) -> None:
            claim = await self.claimed(spool, *PEOPLE[:2])
            first, second = PEOPLE[:2]
            outcomes = {first: Failed("no address"), second: Deferred("not for this one", again=True)}
            await spool.settle(claim, self.halved(claim, outcomes=outcomes, closed={first: "failed"}))
            (again,) = (await spool.claim()).claims
            self.assertEqual(
                ((second,), 2, 0), (again.delivery.envelope.addresses, again.delivery.generation, again.tries)
            )

        return self.play(story)

    def test_an_operator_sees_and_changes_both(self):
        """They are lines of their own; each can be held, and both leave with their message."""

        async def story(spool: Spool) -> None:
            claim = await self.claimed(spool, *PEOPLE)
            await spool.settle(claim, self.halved(claim, *PEOPLE[2:]))
            name = f"{claim.delivery.message}.2"
            await spool.admin.edit(Selection(ids=(name,)), Edit(action="hold", who="ops"))
            self.assertEqual(
                {claim.delivery.id: "queued", name: "held"},
                {line.id: line.state for line in await listed(spool, Selection())},
            )
            portion = await spool.archive.export(Selection(everything=True), "", moving=False)
            (exported,) = portion.items
            self.assertEqual([1, 2], [each.n for each in exported.archived.deliveries])
            self.assertEqual([2, 2], [each.generation for each in exported.archived.deliveries])

        return self.play(story)
