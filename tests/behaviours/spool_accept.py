"""A message becomes the spool's, whole or not at all."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve
from twisted.internet.defer import succeed

from smtprelay.interfaces import Body, MimeWorkerUnavailable, Unmeasured
from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Claim, Settlement
from smtprelay.model.message import Draft, Envelope, Planned, Refused, Reply
from smtprelay.model.queue import Selection
from smtprelay.model.shape import Shape, shape_of
from tests.behaviours.spool_stories import BODY, SpoolStories, done
from tests.listed import listed


class AcceptContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    def test_a_reply_names_the_message(self):
        """The 250 reply carries the id under which the message is in the queue."""

        async def story(spool: Spool) -> None:
            reply = await self.send(spool)
            (line,) = await listed(spool, Selection())
            self.assertEqual((250, f"Ok: queued as {line.message}"), (reply.code, reply.text))
            self.assertEqual(("queued", "Scan", len(BODY)), (line.state, line.subject, line.size))

        return self.play(story)

    def test_a_listener_gets_the_claim_at_once(self):
        """With a free slot the message is claimed in the transaction that accepts it, body in hand."""

        async def story(spool: Spool) -> None:
            claims: list[Claim] = []
            spool.listen(claims.extend)
            await self.send(spool)
            (claim,) = claims
            self.assertEqual((1, BODY, False), (claim.attempt, claim.body, claim.uncertain))
            self.assertEqual(("anna@example.com",), claim.delivery.envelope.addresses)
            (detail,) = await spool.admin.show(claim.delivery.message)
            self.assertEqual([("main", None)], [(each.provider, each.ended) for each in detail.history])

        return self.play(story)

    def test_author_and_login_stay(self):
        """Whoever attempts it, at once or later, knows whom From names and who logged in."""

        async def story(spool: Spool) -> None:
            taken: list[Claim] = []
            spool.listen(taken.extend)
            for number in (1, 2, 3):
                draft = self.draft("anna@example.com", number=number)
                draft = evolve(draft, client=evolve(draft.client, user="ann"))
                planned = evolve(self.planned(draft), author="boss@example.com" if number != 2 else "")
                await spool.accept(draft, BODY, [planned])
            await spool.settle(taken[0], done(taken[0]))
            claims = [*taken, *(await spool.claim()).claims]
            told = [(each.delivery.author, each.delivery.login) for each in claims]
            expected = ["boss@example.com", "scan@example.com", "boss@example.com"]
            self.assertEqual([(author, "ann") for author in expected], told)

        return self.play(story)

    def test_without_a_slot_it_waits(self):
        """What finds no free slot is queued, and its listener is told that something waits."""

        async def story(spool: Spool) -> None:
            told: list[Sequence[Claim]] = []
            spool.listen(told.append)
            for number in (1, 2, 3):
                await self.send(spool, number=number)
            self.assertEqual([1, 1, 0], [len(claims) for claims in told])
            self.assertEqual([], list((await spool.claim()).claims))
            await spool.settle(told[0][0], done(told[0][0]))
            (claim,) = (await spool.claim()).claims
            self.assertEqual(self.draft(number=3).id, claim.delivery.message)

        return self.play(story)

    def test_a_newcomer_does_not_overtake(self):
        """While others of its lane are due, a message queues behind them though a slot is free."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1)
            told: list[Sequence[Claim]] = []
            spool.listen(told.append)
            await self.send(spool, number=2)
            self.assertEqual([()], [tuple(claims) for claims in told])
            work = await spool.claim()
            self.assertEqual(
                [self.draft(number=1).id, self.draft(number=2).id],
                [claim.delivery.message for claim in work.claims],
            )

        return self.play(story)

    def test_a_refused_plan_stores_nothing(self):
        """When policy refuses at the end of the data, its reply is given and nothing stays."""

        async def story(spool: Spool) -> None:
            reply = Reply(code=552, enhanced="5.3.4", text="too large")

            def plan(_headers: object, _shape: object, _measured: object) -> Sequence[Planned]:
                raise Refused(reply)

            incoming = spool.incoming(self.draft("a@example.com"), plan)
            incoming.write(BODY)
            self.assertEqual(reply, await incoming.finish())
            self.assertEqual([], list(await listed(spool, Selection())))

        return self.play(story)

    def test_a_large_body_comes_back_byte_for_byte(self):
        """A body of many chunks, of any length, is stored and streamed without change."""
        body = BODY + bytes(range(256)) * 4000 + b"end"

        async def story(spool: Spool) -> None:
            claims: list[Claim] = []
            spool.listen(claims.extend)
            await self.send(spool, body=body)
            (claim,) = claims
            self.assertIsNone(claim.body)
            stored = spool.body(claim.delivery)
            chunks = [chunk async for chunk in stored.chunks()]
            self.assertEqual(body, b"".join(chunks))
            self.assertLessEqual(max(map(len, chunks)), 256 * 1024)
            self.assertEqual(len(body), stored.size)

        return self.play(story)

    def test_records_of_a_hostile_header(self):
        """What the queue shows of a mail is cut before it is decoded, and the mail is taken as it is."""
        word = b"=?punycode?q?-" + b"b" * 250_000 + b"?="

        async def story(spool: Spool) -> None:
            for number, name in enumerate((b"Subject", b"Message-ID", b"X-Other"), start=1):
                header = b"To: a@example.com\r\n" + name + b": " + word + b"\r\n"
                self.assertEqual(250, (await self.send(spool, number=number, body=header + b"\r\nx")).code)
            for line in await listed(spool, Selection()):
                self.assertLessEqual(len(line.subject), 1024)
            stored = await spool.admin.content(self.draft(number=1).id)
            self.assertIn(word, await stored.whole())

        return self.play(story)

    def test_a_header_in_two_pieces(self):
        """The plan hears of a field wherever the pieces of the body end."""
        found: list[object] = []

        async def story(spool: Spool) -> None:
            filler = b"X: 0123456789abc\r\n" * 14_564
            for number, cut in enumerate((262_153, 262_155, 262_160), start=1):
                draft = self.draft("a@example.com", number=number)

                def plan(head, _shape, _measured, draft=draft) -> Sequence[Planned]:
                    found.append(head.first("X-Env"))
                    return [self.planned(draft)]

                body = filler + b"X-Env: test\r\n\r\n" + b"x" * 100_000
                incoming = spool.incoming(draft, plan)
                for piece in (body[:cut], body[cut : cut + 10], body[cut + 10 :]):
                    waiting = incoming.write(piece)
                    if waiting is not None:
                        await waiting
                self.assertEqual(250, (await incoming.finish()).code)
            self.assertEqual(["test"] * 3, found)

        return self.play(story)

    def test_an_aborted_message_leaves_nothing(self):
        """A client that goes away in the middle leaves neither message nor body."""

        async def story(spool: Spool) -> None:
            draft = self.draft("a@example.com")
            incoming = spool.incoming(draft, lambda *_: [])
            waiting = incoming.write(b"x" * 600_000)
            if waiting is not None:
                await waiting
            incoming.abort()
            self.assertEqual([], list(await listed(spool, Selection())))
            with self.assertRaises(LookupError):
                await spool.admin.show(draft.id)

        return self.play(story)

    def test_several_deliveries_of_one_message(self):
        """Each planned delivery is claimed, settled and listed by itself, under one message id."""

        async def story(spool: Spool) -> None:
            draft = self.draft("a@example.com", "b@example.com")
            first, second = draft.envelope.recipients
            planned = [
                Planned(route="r", provider="main", lane="", recipients=(first,)),
                Planned(route="s", provider="other", lane="box", recipients=(second,)),
            ]
            await spool.accept(draft, BODY, planned)
            work = await spool.claim()
            self.assertEqual(
                {
                    (f"{draft.id}.1", "a@example.com", "main", ""),
                    (f"{draft.id}.2", "b@example.com", "other", "box"),
                },
                {
                    (each.id, *each.envelope.addresses, each.provider, each.lane)
                    for each in (claim.delivery for claim in work.claims)
                },
            )
            await spool.settle(work.claims[0], done(work.claims[0]))
            self.assertEqual(BODY, await spool.body(work.claims[1].delivery).whole())

        return self.play(story)

    def test_what_is_queued_beside_a_claim_is_told(self):
        """When only a part of a message is claimed, the listener hears that the rest waits."""

        async def story(spool: Spool) -> None:
            told: list[Sequence[Claim]] = []
            spool.listen(lambda claims: told.append(tuple(claims)))
            draft = self.draft("a@example.com", "b@example.com", "c@example.com")
            planned = [
                Planned(route="r", provider="main", lane="", recipients=(each,))
                for each in draft.envelope.recipients
            ]
            await spool.accept(draft, BODY, planned)
            self.assertEqual([2, 0], [len(claims) for claims in told])

        return self.play(story)

    def test_a_plan_for_nobody_is_not_accepted(self):
        """What would never reach anybody stays with its client."""

        async def story(spool: Spool) -> None:
            incoming = spool.incoming(self.draft("a@example.com"), lambda *_: [])
            incoming.write(BODY)
            self.assertEqual(451, (await incoming.finish()).code)
            self.assertEqual([], list(await listed(spool, Selection())))

        return self.play(story)

    def test_a_plan_that_breaks_is_answered(self):
        """Whatever is raised on the way, the client gets a reply that lets it try again."""

        async def story(spool: Spool) -> None:
            def plan(_headers: object, _shape: object, _measured: object) -> Sequence[Planned]:
                raise KeyError("provider")

            incoming = spool.incoming(self.draft("a@example.com"), plan)
            waiting = incoming.write(BODY + b"x" * 600_000)
            if waiting is not None:
                await waiting
            self.assertEqual((451, "4.3.0"), ((reply := await incoming.finish()).code, reply.enhanced))

        return self.play(story)

    def test_a_subject_that_is_no_text_is_stored(self):
        """Half a surrogate pair, which no database takes, does not keep a mail out."""

        async def story(spool: Spool) -> None:
            body = b"Subject: =?utf-7?Q?+2AA-?=\r\nMessage-ID: \x00\r\n\r\n"
            self.assertEqual(250, (await self.send(spool, body=body)).code)
            (line,) = await listed(spool, Selection())
            self.assertEqual("\ufffd", line.subject)

        return self.play(story)

    def test_a_mail_is_measured_before_it_is_accepted(self):
        """The plan is asked again with the size; what measures reads the whole mail, stored or not."""

        async def story(spool: Spool) -> None:
            for number, size in enumerate((100, 300_000, 2 * 256 * 1024, 900_000), start=1):
                body = BODY + b"x" * (size - len(BODY))
                draft = self.draft("anna@example.com", number=number)
                read: list[bytes] = []

                async def measure(
                    envelope: Envelope, body: Body, draft: Draft = draft, read: list[bytes] = read
                ) -> int:
                    self.assertEqual(draft.envelope, envelope)
                    read += [chunk async for chunk in body.chunks()]
                    return 7

                def plan(
                    _: object,
                    _shape: Shape,
                    sizes: Mapping[str, int],
                    draft: Draft = draft,
                    measure: Any = measure,
                ) -> Sequence[Planned]:
                    if not sizes:
                        raise Unmeasured("main", measure)
                    self.assertEqual({"main": 7}, sizes)
                    return [self.planned(draft)]

                incoming = spool.incoming(draft, plan)
                for start in range(0, len(body), 50_000):
                    waiting = incoming.write(body[start : start + 50_000])
                    if number % 2 and waiting is not None:
                        await waiting
                self.assertEqual(250, (await incoming.finish()).code)
                self.assertEqual(body, b"".join(read))
            self.assertEqual(4, len(await listed(spool, Selection())))

        return self.play(story)

    def test_what_cannot_be_measured_leaves_nothing(self):
        """Nobody could say how large it becomes: the client is told to come again, and no piece stays."""

        async def story(spool: Spool) -> None:
            async def measure(_envelope: Envelope, _body: Body) -> int:
                raise MimeWorkerUnavailable

            def plan(_: object, _shape: object, _sizes: object) -> Sequence[Planned]:
                raise Unmeasured("main", measure)

            incoming = spool.incoming(self.draft("anna@example.com"), plan)
            await (incoming.write(BODY + b"x" * 600_000) or succeed(None))
            reply = await incoming.finish()
            self.assertEqual((452, "4.3.0"), (reply.code, reply.enhanced))
            self.assertEqual([], list(await listed(spool, Selection())))
            await spool.maintenance.sweep(0.0)  # behind the pieces' removal, for which nobody waits
            checked = await spool.maintenance.check()
            self.assertEqual(([], 0), (list(checked.findings), checked.bytes))

        return self.play(story)

    def test_content(self):
        """Before the 250 it is known of a large mail how large it becomes in JSON at most, if wanted."""

        async def story(spool: Spool) -> None:
            seen: list[int | None] = []

            def plan(_: object, shape: Shape, _sizes: object) -> Sequence[Planned]:
                seen.append(shape.in_json)
                return []

            text = b"a" * 198 + b"\r\n"
            html = b"Content-Type: text/html\r\n"
            for start, end, wanted in (
                (b"", b"", True),
                (b"", b"\xe4", True),
                (html, b"", True),
                (b"", b"", False),
            ):
                draft = self.draft("anna@example.com", number=len(seen) + 1)
                incoming = spool.incoming(evolve(draft, counts_content=wanted), plan)
                for piece in (start + b"Subject: a\r\n\r\n", *[text * 1000] * 18, end):
                    await (incoming.write(piece) or succeed(None))
                await incoming.finish()
            self.assertEqual([66, 108, 108, 0], [(each or 0) // 100_000 for each in seen])

        return self.play(story)

    def test_the_shape_is_kept(self):
        """A claim has it, at accept and later; so have messages of our own."""

        async def story(spool: Spool) -> None:
            bodies = {
                1: BODY,
                2: BODY + b"\xe4\xf6\xfc\r\n" * 60_000,
                3: BODY + b"y" * 999 + b"\r\n",
                4: BODY + (b"\xff" * 998 + b"\r\n") * 700,
            }
            for number, body in bodies.items():
                begun: list[Claim] = []
                spool.listen(begun.extend)
                await self.send(spool, number=number, body=body)
                (claim,) = begun
                self.assertEqual(shape_of(body), claim.delivery.shape)
                now = self.clock.seconds()
                await spool.settle(claim, Settlement(state="queued", outcomes={}, due=now))
                spool.listen(None)
                (again,) = (await spool.claim()).claims
                self.assertEqual(claim.delivery.shape, again.delivery.shape)
                await spool.settle(again, done(again))
            ours = self.draft("anna@example.com", number=9)
            await spool.accept(ours, bodies[2], [self.planned(ours)])
            (claim,) = (await spool.claim()).claims
            self.assertEqual(shape_of(bodies[2]), claim.delivery.shape)

        return self.play(story)
