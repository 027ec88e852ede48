"""Rules that hold mail, and how they end."""

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Settlement
from smtprelay.model.message import Planned, Recipient
from smtprelay.model.outcome import Deferred, Delivered
from smtprelay.model.queue import Edit, Selection
from smtprelay.model.queue_admin import HoldRule
from tests.behaviours.spool_stories import BODY, SpoolStories
from tests.listed import listed


class HoldContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    def rule(self, seconds: float = 60.0, **patterns: str) -> HoldRule:
        return HoldRule(
            **(patterns or {"recipient": "*@example.com"}),
            reason="incident",
            who="ops",
            until=self.clock.seconds() + seconds,
        )

    async def apply_hold_rules(self, spool: Spool) -> float | None:
        """Do all that the rules ask for now."""
        for _ in range(50):
            when = await spool.admin.apply_hold_rules()
            if when != 0.0:
                return when
        raise AssertionError("the rules never come to rest")

    async def states(self, spool: Spool) -> dict[str, str]:
        return {line.recipients[0].address: line.state for line in await listed(spool, Selection())}

    def test_what_comes_in_is_held(self):
        """It is held as it is accepted, with the rule and its reason; other mail is not."""

        async def story(spool: Spool) -> None:
            claims = []
            spool.listen(claims.extend)
            rule = await spool.admin.hold(self.rule())
            await self.send(spool, "Anna@Example.com", number=1)
            await self.send(spool, "bob@example.net", number=2)
            self.assertEqual(["bob@example.net"], [claim.delivery.envelope.addresses[0] for claim in claims])
            (held,) = await listed(spool, Selection(states=("held",)))
            self.assertEqual(f"held by rule {rule.id}: incident", held.reason)
            (told,) = await spool.admin.hold_rules()
            self.assertEqual((rule.id, 1, self.clock.seconds()), (told.id, told.count, told.made))
            self.assertEqual(1, (await spool.admin.stats()).states["held"])

        return self.play(story)

    def test_what_is_left_of_a_synchronous_delivery_is_held(self):
        """It comes in with its attempt, which holds no mail up; only if it is of those who have it not."""

        async def story(spool: Spool) -> None:
            rule = await spool.admin.hold(self.rule(recipient="ben@example.com"))
            for number, other in ((1, "ben@example.com"), (2, "ida@example.com")):
                draft = self.draft("anna@example.com", other, number=number)
                settlement = Settlement(
                    state="deferred",
                    outcomes={"anna@example.com": Delivered("op-1"), other: Deferred("busy")},
                    closed={"anna@example.com": "delivered"},
                    due=self.clock.seconds(),
                )
                planned = [self.planned(draft)]
                incoming = spool.incoming(draft, lambda *_, planned=planned: planned, settlement)
                incoming.write(BODY)
                self.assertEqual(250, (await incoming.finish()).code)
            (held,) = await listed(spool, Selection(states=("held",)))
            self.assertEqual(f"held by rule {rule.id}: incident", held.reason)
            self.assertEqual(["held", "deferred"], [line.state for line in await listed(spool, Selection())])
            await spool.admin.unhold(rule.id, "ops")
            await self.apply_hold_rules(spool)
            claims = (await spool.claim()).claims
            self.assertEqual(
                {"ben@example.com", "ida@example.com"},
                {each for claim in claims for each in claim.delivery.envelope.addresses},
            )

        return self.play(story)

    def test_what_waits_is_held(self):
        """When a rule is made, what waits and matches is held, too; what is under way goes on."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number)
            await spool.claim(limit=1)
            await spool.admin.hold(self.rule())
            when = await self.apply_hold_rules(spool)
            self.assertEqual(self.clock.seconds() + 60, when)
            states = sorted(line.state for line in await listed(spool, Selection()))
            self.assertEqual(["active", "held", "held"], states)
            self.assertEqual(2, (await spool.admin.hold_rules())[0].count)
            line = (await listed(spool, Selection(states=("held",))))[0]
            (detail,) = await spool.admin.show(line.message)
            self.assertEqual([("hold", "by ops: incident")], [(a.outcome, a.reason) for a in detail.history])

        return self.play(story)

    def test_each_pattern(self):
        """All that are given must match; for recipients one of a delivery is enough."""

        async def story(spool: Spool) -> None:
            cases = (
                ({"sender": "SCAN@*"}, True),
                ({"sender": "scan"}, False),
                ({"sender": "<>"}, False),
                ({"recipient": "*@b.org"}, True),
                ({"recipient": "b.org"}, False),
                ({"provider": "main", "route": "r"}, True),
                ({"provider": "main", "route": "s"}, False),
                ({"provider": "m.in"}, False),
                ({"route": "*"}, True),
            )
            for number, (patterns, held) in enumerate(cases, start=1):
                rule = await spool.admin.hold(self.rule(**patterns))
                await self.send(spool, "x@a.org", "y@b.org", number=number)
                line = (await spool.admin.show(self.draft(number=number).id))[0].summary
                self.assertEqual(held, line.state == "held", patterns)
                await spool.admin.unhold(rule.id, "ops")
                await self.apply_hold_rules(spool)

        return self.play(story)

    def test_a_rule_without_a_pattern_is_none(self):
        """Nobody holds everything by mistake; ``*`` says it. Nor a hundred years, or no time at all."""

        async def story(spool: Spool) -> None:
            with self.assertRaises(ValueError):
                await spool.admin.hold(HoldRule(reason="", who="ops", until=self.clock.seconds() + 60))
            for seconds in (0.0, -1.0, 4e9, float("inf")):
                with self.assertRaises(ValueError):
                    await spool.admin.hold(self.rule(seconds))
            self.assertEqual([], list(await spool.admin.hold_rules()))

        return self.play(story)

    def test_a_rule_ends_in_its_time(self):
        """From then on mail comes in as ever, and what was held goes, visibly; the rule is gone."""

        async def story(spool: Spool) -> None:
            rule = await spool.admin.hold(self.rule(seconds=60))
            await self.send(spool, number=1)
            self.assertEqual(self.clock.seconds() + 60, await self.apply_hold_rules(spool))
            self.clock.advance(60)
            await self.send(spool, number=2)
            self.assertEqual(1, len(await listed(spool, Selection(states=("queued",)))))
            self.assertIsNone(await self.apply_hold_rules(spool))
            self.assertEqual(2, len((await spool.claim()).claims))
            self.assertEqual([], list(await spool.admin.hold_rules()))
            (detail,) = await spool.admin.show(self.draft(number=1).id)
            self.assertEqual(
                ("release", f"by the relay: hold rule {rule.id} is over"),
                (detail.history[0].outcome, detail.history[0].reason),
            )

        return self.play(story)

    def test_a_rule_is_ended_by_hand(self):
        """What it held goes, with who ended it; what somebody else held stays."""

        async def story(spool: Spool) -> None:
            await self.send(spool, "mine@example.net", number=1)
            await spool.admin.edit(Selection(everything=True), Edit(action="hold", who="anna"))
            rule = await spool.admin.hold(self.rule())
            await self.send(spool, "held@example.com", number=2)
            await spool.admin.unhold(rule.id, "bob")
            await self.apply_hold_rules(spool)
            self.assertEqual(
                {"mine@example.net": "held", "held@example.com": "queued"}, await self.states(spool)
            )
            (detail,) = await spool.admin.show(self.draft(number=2).id)
            self.assertEqual(f"by bob: hold rule {rule.id} was ended", detail.history[-1].reason)
            with self.assertRaises(LookupError):
                await spool.admin.unhold(rule.id, "bob")

        return self.play(story)

    def test_another_rule_holds_still(self):
        """What two rules hold goes when both have ended."""

        async def story(spool: Spool) -> None:
            first = await spool.admin.hold(self.rule())
            second = await spool.admin.hold(self.rule(sender="scan@*"))
            await self.send(spool)
            await spool.admin.unhold(first.id, "ops")
            await self.apply_hold_rules(spool)
            (line,) = await listed(spool, Selection())
            self.assertEqual(("held", f"held by rule {second.id}: incident"), (line.state, line.reason))
            await spool.admin.unhold(second.id, "ops")
            await self.apply_hold_rules(spool)
            self.assertEqual(1, len((await spool.claim()).claims))

        return self.play(story)

    def test_an_operator_is_above_the_rules(self):
        """What is released by hand goes, and deleted is deleted, though the rule is in force."""

        async def story(spool: Spool) -> None:
            await spool.admin.hold(self.rule())
            await self.apply_hold_rules(spool)
            await self.send(spool, number=1)
            await self.send(spool, number=2)
            first, second = await listed(spool, Selection())
            await spool.admin.edit(Selection(ids=(first.id,)), Edit(action="release", who="ops"))
            await spool.admin.edit(Selection(ids=(second.id,)), Edit(action="delete", who="ops"))
            await self.apply_hold_rules(spool)
            self.assertEqual([first.id], [claim.delivery.id for claim in (await spool.claim()).claims])
            self.assertEqual(0, (await spool.admin.hold_rules())[0].count)

        return self.play(story)

    def test_one_delivery_of_a_message(self):
        """A rule about one route holds that part of a message alone."""

        async def story(spool: Spool) -> None:
            await spool.admin.hold(self.rule(route="slow"))
            draft = self.draft("a@example.com", "b@example.com")
            planned = [
                Planned(route=route, provider="main", lane="", recipients=(Recipient(address=each),))
                for route, each in (("fast", "a@example.com"), ("slow", "b@example.com"))
            ]
            await spool.accept(draft, b"x", planned)
            self.assertEqual({"a@example.com": "queued", "b@example.com": "held"}, await self.states(spool))

        return self.play(story)
