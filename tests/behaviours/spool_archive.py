"""Messages leave a spool and come into another one, and nobody gets anything twice or not at all."""

from attrs import evolve

from smtprelay.interfaces.spool import Spool
from smtprelay.model.archive import ArchivedDelivery, ArchiveItem
from smtprelay.model.archive_json import read, written
from smtprelay.model.attempt import Block, Settlement
from smtprelay.model.operator_settings import OperatorSettings, Suspension
from smtprelay.model.outcome import Deferred, Delivered, Failed
from smtprelay.model.queue import STATES, SUSPENDED, Edit, Selection
from smtprelay.model.queue_admin import HoldRule
from smtprelay.model.shape import shape_of
from smtprelay.spool import archive
from tests.behaviours.spool_stories import BODY, RATE_LIMITS, SpoolStories, done
from tests.listed import listed

EVERYTHING = Selection(states=STATES, everything=True)


class ArchiveContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    async def fill(self, spool: Spool) -> None:
        """Put mail into every stage: 1 delivered, 2 deferred, 3 active, 4 held, 5 failed, 6 queued."""
        await self.send(spool, number=1)
        await self.settle(spool, done)
        await self.send(spool, "a@example.com", "b@example.com", number=2)
        await self.settle(spool, self.half)
        await self.send(spool, number=5)
        await self.settle(spool, self.failed)
        await self.send(spool, number=4)
        await spool.admin.edit(Selection(ids=(self.draft(number=4).id,)), Edit(action="hold", who="ops"))
        await self.send(spool, number=3)
        await spool.claim(1)
        await self.send(spool, number=6, body=BODY + b"x" * 600_000)

    async def settle(self, spool: Spool, settlement) -> None:
        (claim,) = (await spool.claim(1)).claims
        self.assertTrue(await spool.settle(claim, settlement(claim)))

    def half(self, claim) -> Settlement:
        first, second = claim.delivery.envelope.addresses
        return Settlement(
            state="deferred",
            outcomes={first: Delivered("op-1"), second: Deferred("busy")},
            closed={first: "delivered"},
            reason="busy",
            due=self.clock.seconds() + 600,
            tries=1,
            uncertain=True,
        )

    def failed(self, claim) -> Settlement:
        addresses = claim.delivery.envelope.addresses
        return Settlement(
            state="failed",
            outcomes={each: Failed("no") for each in addresses},
            closed=dict.fromkeys(addresses, "failed"),
            reason="no",
        )

    async def exported(self, spool: Spool, selection=EVERYTHING, *, moving=False) -> list[ArchiveItem]:
        """Return everything that is exported, bodies and all."""
        exported, mark = [], None
        while mark != "":
            portion = await spool.archive.export(selection, mark or "", moving=moving)
            exported += [evolve(each, content=await self.body_of(spool, each)) for each in portion.items]
            mark = portion.mark
        return exported

    async def body_of(self, spool: Spool, exported: ArchiveItem) -> bytes | None:
        if exported.content is not None or not exported.archived.body:
            return exported.content
        pieces, n = [], 1
        while (piece := await spool.archive.piece(exported.archived.id, n)) is not None:
            pieces.append(piece)
            n += 1
        return b"".join(pieces)

    def only(self, exported: list[ArchiveItem], number: int) -> ArchivedDelivery:
        (archived,) = [each.archived for each in exported if each.archived.id == self.draft(number=number).id]
        (delivery,) = archived.deliveries
        return delivery

    async def sound(self, spool: Spool) -> None:
        self.assertEqual([], list((await spool.maintenance.check()).findings))

    def test_everything_is_told(self):
        """Each message with its state, recipients, attempts and body; what is under way is uncertain."""

        async def story(spool: Spool) -> None:
            await self.fill(spool)
            exported = await self.exported(spool)
            told = {n: (self.only(exported, n).state, self.only(exported, n).uncertain) for n in range(1, 7)}
            self.assertEqual(
                {
                    1: ("delivered", False),
                    2: ("deferred", True),
                    3: ("queued", True),
                    4: ("held", False),
                    5: ("failed", False),
                    6: ("queued", False),
                },
                told,
            )
            deferred = self.only(exported, 2)
            self.assertEqual(["delivered", "open"], [each.state for each in deferred.recipients])
            self.assertEqual(["delivered+deferred"], [each.outcome for each in deferred.attempts])
            self.assertEqual(["uncertain"], [each.outcome for each in self.only(exported, 3).attempts])
            bodies = [each.content is None for each in exported]
            self.assertEqual([True, False, False, False, False, False], bodies)
            self.assertEqual(BODY + b"x" * 600_000, exported[5].content)
            self.assertEqual(
                [each.archived for each in exported], [read(written(each.archived)) for each in exported]
            )
            await self.sound(spool)

        return self.play(story)

    def test_what_was_deleted_moves_as_that(self):
        """It leaves and comes in deleted, without a body, and is no part of what waits."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            await spool.admin.edit(Selection(ids=(self.draft().id,)), Edit(action="delete", who="ops"))
            self.assertEqual([], await self.exported(spool, Selection()))
            (exported,) = await self.exported(spool, moving=True)
            self.assertEqual(
                ("deleted", False, None),
                (self.only([exported], 1).state, exported.archived.body, exported.content),
            )
            self.assertEqual(
                [exported.archived.id], list(await spool.archive.exported([exported.archived.id], "o"))
            )
            self.assertEqual([], list(await listed(spool, Selection(states=STATES))))
            again = evolve(exported, archived=read(written(exported.archived)))
            self.assertEqual([True], list(await spool.archive.put([again], "ops")))
            await spool.admin.edit(Selection(states=("failed",)), Edit(action="retry", who="o"))
            (line,) = await listed(spool, Selection(states=STATES))
            self.assertEqual("deleted", line.state)
            await self.sound(spool)

        return self.play(story)

    async def carry_out(self, spool: Spool) -> None:
        while await spool.admin.apply_hold_rules() == 0.0:
            pass

    def test_orders(self):
        """Rules and suspensions come in with what they hold, once, and end as they would have ended."""

        async def story(spool: Spool) -> None:
            rule = HoldRule(recipient="*", reason="incident", who="ops", until=self.clock.seconds() + 60)
            number = (await spool.admin.hold(rule)).id
            await self.send(spool, number=1)
            suspending = {"until": SUSPENDED, "operator": True}
            await spool.block(Block(provider="main", reason="by ops", duration=30.0, **suspending))
            await spool.block(Block(provider="other", reason="by ops: down", **suspending))
            given, (exported,) = await spool.archive.settings(), await self.exported(spool, moving=True)
            await spool.archive.exported([exported.archived.id], "ops")
            await spool.admin.unhold(number, "ops")
            await self.carry_out(spool)
            for provider in RATE_LIMITS:
                await spool.block(Block(provider=provider, operator=True))
            self.assertEqual(OperatorSettings(), await spool.archive.settings())

            for new in (1, 0):
                obeyed = await spool.archive.apply_settings(given, "ops")
                self.assertEqual((new, 2 * new), (len(obeyed.holds), len(obeyed.suspended)))
            here = obeyed.numbers[self.only([exported], 1).hold]
            self.assertEqual([True], list(await spool.archive.put([self.numbered(exported, here)], "ops")))
            (held,) = await listed(spool, Selection(hold=here))
            self.assertEqual(f"held by rule {here}: incident", held.reason)
            self.assertEqual(given.suspended, (await spool.archive.settings()).suspended)
            await self.sound(spool)
            self.clock.advance(60)
            await self.carry_out(spool)
            self.assertEqual(1, len((await spool.claim()).claims))
            self.assertEqual([], list(await spool.admin.hold_rules()))

        return self.play(story)

    def test_settings_that_are_over(self):
        """They come too late for what they were about, and nothing is left of them."""

        async def story(spool: Spool) -> None:
            now = self.clock.seconds()
            rule = HoldRule(id=7, recipient="*", reason="", who="ops", made=now - 60, until=now - 1)
            over = Suspension(provider="main", reason="by ops", resumes=now - 1)
            obeyed = await spool.archive.apply_settings(
                OperatorSettings(holds=(rule,), suspended=(over,)), "ops"
            )
            self.assertEqual((), obeyed.suspended)
            await self.carry_out(spool)
            self.assertEqual(OperatorSettings(), await spool.archive.settings())

        return self.play(story)

    def test_a_rule_that_is_not_here(self):
        """What it held is held by nobody's rule: an operator releases it."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1)
            await spool.admin.edit(Selection(everything=True), Edit(action="hold", who="ops", why="look"))
            (exported,) = await self.exported(spool, moving=True)
            await spool.archive.exported([exported.archived.id], "ops")
            self.assertEqual([True], list(await spool.archive.put([self.numbered(exported, 7)], "ops")))
            self.assertEqual([], list(await listed(spool, Selection(hold=7))))
            self.assertEqual("held by ops: look", (await listed(spool, Selection()))[0].reason)

        return self.play(story)

    def test_settings_that_cannot_be_meant(self):
        """They are refused, and none of them is in force."""

        async def story(spool: Spool) -> None:
            rule = HoldRule(recipient="*", reason="", who="ops", made=1.0, until=2.0)
            for bad in ({"until": 9e12}, {"until": 0.5}, {"recipient": ""}):
                given = OperatorSettings(holds=(rule, evolve(rule, id=2, **bad)))
                with self.assertRaises(ValueError):
                    await spool.archive.apply_settings(given, "ops")
                self.assertEqual([], list(await spool.admin.hold_rules()))

        return self.play(story)

    def numbered(self, exported: ArchiveItem, number: int) -> ArchiveItem:
        """Return a message whose held delivery is held by the rule with ``number``."""
        (delivery,) = exported.archived.deliveries
        return evolve(
            exported, archived=evolve(exported.archived, deliveries=(evolve(delivery, hold=number),))
        )

    def test_a_copy_changes_nothing(self):
        """Without moving, everything goes on as it was."""

        async def story(spool: Spool) -> None:
            await self.fill(spool)
            before = await listed(spool, EVERYTHING)
            exported = await self.exported(spool, Selection())
            self.assertEqual(4, len(exported))
            self.assertEqual(list(before), list(await listed(spool, EVERYTHING)))

        return self.play(story)

    def test_what_moves_is_not_sent_from_here(self):
        """It is held from the moment in which it is told, and gone when it is safe elsewhere."""

        async def story(spool: Spool) -> None:
            await self.fill(spool)
            portion = await spool.archive.export(EVERYTHING, moving=True)
            self.assertEqual([self.draft(number=3).id], list(portion.left))
            ids = [each.archived.id for each in portion.items]
            self.assertEqual(5, len(ids))
            self.clock.advance(9999)
            self.assertEqual([], list((await spool.claim()).claims))
            await self.sound(spool)
            self.assertEqual(sorted(ids), sorted(await spool.archive.exported([*ids, "nobody"], "ops")))
            self.assertEqual(
                [self.draft(number=3).id], [line.message for line in await listed(spool, EVERYTHING)]
            )
            await self.sound(spool)

        return self.play(story)

    def test_a_move_that_was_given_up(self):
        """What it had held is told as it was, more or less, the next time, and may be released."""

        async def story(spool: Spool) -> None:
            await self.fill(spool)
            await self.exported(spool, moving=True)
            again = await self.exported(spool)
            self.assertEqual("queued", self.only(again, 2).state)
            self.assertEqual("held", self.only(again, 4).state)
            await spool.admin.edit(
                Selection(ids=(self.draft(number=6).id,)), Edit(action="release", who="ops")
            )
            ids = [each.archived.id for each in again]
            gone = await spool.archive.exported(ids, "ops")
            self.assertNotIn(self.draft(number=6).id, gone)
            self.assertNotIn(self.draft(number=3).id, gone)
            await self.sound(spool)

        return self.play(story)

    def test_what_was_sent_before_it_had_moved(self):
        """Released and delivered here meanwhile it stays: what was exported would be sent once more."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            await self.send(spool, number=2)
            exported = [each.archived for each in await self.exported(spool, moving=True)]
            attempts = {f"{each.id}.{part.n}": part.attempt for each in exported for part in each.deliveries}
            sent, moved = (each.id for each in exported)
            await spool.admin.edit(Selection(ids=(sent,)), Edit(action="release", who="ops"))
            for claim in (await spool.claim()).claims:
                everybody = claim.delivery.envelope.addresses
                taken = {each: Delivered("op-1") for each in everybody}
                closed = dict.fromkeys(everybody, "delivered")
                await spool.settle(claim, Settlement(state="delivered", outcomes=taken, closed=closed))
            self.assertEqual([moved], list(await spool.archive.exported([sent, moved], "ops", attempts)))
            self.assertEqual(["delivered"], [each.summary.state for each in await spool.admin.show(sent)])
            await self.sound(spool)

        return self.play(story)

    def test_what_comes_in_is_what_went_out(self):
        """Into the same spool again, after it was moved out: the same parcels, the same next operation."""

        async def story(spool: Spool) -> None:
            await self.fill(spool)
            await spool.recover()
            exported = await self.exported(spool, moving=True)
            await spool.archive.exported([each.archived.id for each in exported], "ops")
            self.assertEqual((), tuple(await listed(spool, EVERYTHING)))
            self.assertEqual([True] * 6, list(await spool.archive.put(exported, "ops")))
            await self.sound(spool)
            self.assertEqual(exported, await self.exported(spool))
            claims = {each.delivery.message: each for each in (await spool.claim(1)).claims}
            uncertain = claims[self.draft(number=3).id]
            self.assertEqual((True, 2), (uncertain.uncertain, uncertain.attempt))
            self.assertEqual(BODY, await spool.body(uncertain.delivery).whole())

        return self.play(story)

    def test_the_shape_goes_along(self):
        """A message without one, of an earlier version, has none; one that is not its own is refused."""

        async def story(spool: Spool) -> None:
            body = BODY + b"\xfc" * 1000
            await self.send(spool, body=body)
            (exported,) = await self.exported(spool, moving=True)
            self.assertEqual(shape_of(body), exported.archived.shape)
            for shape in (shape_of(body), None):
                await spool.archive.exported([exported.archived.id], "ops")
                await spool.archive.put(
                    [evolve(exported, archived=evolve(exported.archived, shape=shape))], "ops"
                )
                (claim,) = (await spool.claim()).claims
                self.assertEqual(shape, claim.delivery.shape)
                await spool.settle(claim, Settlement(state="held", outcomes={}))
            await spool.archive.exported([exported.archived.id], "ops")
            wrong = evolve(exported.archived, shape=shape_of(BODY))
            (result,) = await spool.archive.put([evolve(exported, archived=wrong)], "ops")
            self.assertIn("its shape is that of", str(result))

        return self.play(story)

    def test_the_author_goes_along(self):
        """Whom From names is known in the other spool, too."""

        async def story(spool: Spool) -> None:
            draft = self.draft("anna@example.com")
            await spool.accept(draft, BODY, [evolve(self.planned(draft), author="boss@example.com")])
            (exported,) = await self.exported(spool, moving=True)
            self.assertEqual("boss@example.com", exported.archived.author)
            await spool.archive.exported([exported.archived.id], "ops")
            await spool.archive.put([exported], "ops")
            (claim,) = (await spool.claim()).claims
            self.assertEqual("boss@example.com", claim.delivery.author)

        return self.play(story)

    def test_importing_twice(self):
        """What is here already is left as it is, whatever has become of it."""

        async def story(spool: Spool) -> None:
            await self.fill(spool)
            exported = await self.exported(spool)
            before = await listed(spool, EVERYTHING)
            self.assertEqual([False] * 6, list(await spool.archive.put(exported, "ops")))
            self.assertEqual(list(before), list(await listed(spool, EVERYTHING)))
            self.assertFalse(await spool.archive.put_piece(self.draft(number=6).id, 1, b"other"))
            await self.sound(spool)

        return self.play(story)

    def test_a_large_body_comes_in_pieces(self):
        """Byte for byte; when one is missing the message is not taken, and the pieces are gone."""

        async def story(spool: Spool) -> None:
            await self.send(spool, body=BODY + b"x" * 600_000)
            (exported,) = await self.exported(spool, moving=True)
            message, content = exported.archived.id, exported.content
            await spool.archive.exported([message], "ops")
            for last in (2, 3):
                for n in range(1, last + 1):
                    piece = content[(n - 1) * 262_144 : n * 262_144]
                    self.assertTrue(await spool.archive.put_piece(message, n, piece))
                (result,) = await spool.archive.put([evolve(exported, content=None)], "ops")
                await self.sound(spool)
                if last == 2:
                    self.assertIn("524288 bytes instead of", str(result))
            self.assertEqual(True, result)
            self.assertEqual(content, await self.body_of(spool, evolve(exported, content=None)))

        return self.play(story)

    def test_an_import_that_was_given_up(self):
        """The pieces of a message that nobody goes on with are dropped while the relay runs; others stay."""

        async def story(spool: Spool) -> None:
            for message in ("given-up", "goes-on"):
                await spool.archive.put_piece(message, 1, b"x" * 262_144)
            self.patch(archive, "PATIENCE", 3)
            for _ in range(3):
                await spool.maintenance.check_health()
            self.assertEqual(2 * 262_144, (await spool.maintenance.check()).bytes)
            await spool.archive.put_piece("goes-on", 2, b"x")
            await spool.maintenance.check_health()
            self.assertEqual(262_145, (await spool.maintenance.check()).bytes)

        return self.play(story)

    def test_one_bad_parcel_harms_no_other(self):
        """What contradicts itself is refused with its reason; the others of the portion come in."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number)
            exported = await self.exported(spool, moving=True)
            await spool.archive.exported([each.archived.id for each in exported], "ops")
            exported[1] = evolve(exported[1], content=b"cut off")
            first, second, third = await spool.archive.put(exported, "ops")
            self.assertEqual((True, True), (first, third))
            self.assertIn("7 bytes instead of", str(second))
            self.assertEqual(2, len(await listed(spool, Selection())))
            await self.sound(spool)

        return self.play(story)

    def test_many_in_portions(self):
        """However many there are, and in however many states, each is told once."""

        async def story(spool: Spool) -> None:
            for number in range(1, 91):
                await self.send(spool, number=number, provider="none")
            for first, action in ((2, "hold"), (5, "delete")):
                ids = [self.draft(number=number).id for number in range(first, 91, 7)]
                await spool.admin.edit(Selection(ids=ids), Edit(action=action, who="ops"))
            ids = [each.archived.id for each in await self.exported(spool)]
            self.assertEqual([self.draft(number=number).id for number in range(1, 91)], ids)
            waiting = await self.exported(spool, Selection(provider="none"))
            self.assertEqual(90 - 13, len(waiting))

        return self.play(story)

    def test_blocked_time_does_not_count_elsewhere(self):
        """What a lane's block has cost a mail is not counted towards its age in the next spool."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            await spool.block(Block(provider="main", until=9e9, reason="401"))
            self.clock.advance(3600)
            exported = await self.exported(spool, moving=True)
            self.assertEqual(3600.0, self.only(exported, 1).blocked)
            await spool.archive.exported([exported[0].archived.id], "ops")
            await spool.block(Block(provider="main"))
            await spool.archive.put(exported, "ops")
            (claim,) = (await spool.claim()).claims
            self.assertEqual(0.0, claim.age)

        return self.play(story)

    def test_an_unknown_id(self):
        """It is said that there is no such message."""

        async def story(spool: Spool) -> None:
            with self.assertRaises(LookupError):
                await spool.archive.export(Selection(ids=("ZZZZ",)))

        return self.play(story)
