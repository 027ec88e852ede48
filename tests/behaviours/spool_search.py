"""Finding deliveries: by every field, in whatever state, in steps that go on where one has ended."""

from attrs import evolve

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Settlement
from smtprelay.model.message import Client, Planned, Recipient
from smtprelay.model.outcome import Deferred, Failed
from smtprelay.model.queue import Selection
from tests.behaviours.spool_stories import SpoolStories, done
from tests.listed import listed


class SearchContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    async def found(self, spool: Spool, **fields: object) -> list[str]:
        """Return the ids that a search gives, gone through one at a time."""
        selection = Selection(**fields, limit=1)
        ids, mark = [], ""
        for _ in range(100):
            step = await spool.admin.search(selection, mark)
            ids += [line.id for line in step.deliveries]
            mark = step.mark
            if not mark:
                break
        whole = await spool.admin.search(evolve(selection, limit=1000))
        self.assertEqual(ids, [line.id for line in whole.deliveries], "in steps it is not the same")
        return ids

    def name(self, number: int, n: int = 1) -> str:
        return f"{self.draft(number=number).id}.{n}"

    def test_every_field_is_found(self):
        """Each filter finds what has it and nothing else; ``*`` and capitals do not matter."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1)
            draft = self.draft("ünal@example.org", sender="Ümit@example.org", number=2)
            client = Client(
                address="10.0.3.17", listener="lan", helo='quo"te', user='print"er1', tls="TLSv1.3"
            )
            body = (
                "Subject: =?utf-8?q?=C3=9Cbersicht_100%_f=C3=BCr_alle?=\r\nMessage-ID: <AB_c@x>\r\n\r\n"
                + "x" * 1000
            )
            planned = Planned(
                route="printers", provider="other", lane="box", recipients=draft.envelope.recipients
            )
            await spool.accept(evolve(draft, client=client), body.encode(), [planned])
            (claim,) = [each for each in (await spool.claim()).claims if each.delivery.provider == "other"]
            reason = "429 Too Many (später)"
            outcomes = {"ünal@example.org": Deferred(reason)}
            await spool.settle(claim, Settlement(state="deferred", outcomes=outcomes, reason=reason, due=9e8))
            for fields in (
                {"text": "Ümit@EXAMPLE"},
                {"text": "ünal@"},
                {"text": "Übersicht 100%"},
                {"text": "AB_c@"},
                {"route": "printers"},
                {"route": "print*"},
                {"provider": "other"},
                {"lane": "BOX"},
                {"sender": "Ümit@example.org"},
                {"sender": "Ümit@*"},
                {"sender": "*@EXAMPLE.org"},
                {"recipient": "ünal@example.org"},
                {"subject": "Übersicht 100% für"},
                {"subject": "100%"},
                {"subject": "Über* alle"},
                {"message_id": "<AB_c@x>"},
                {"message_id": "ab_C@X"},
                {"error": "too many"},
                {"error": "429*"},
                {"error": "später"},
                {"client": "10.0.3.17"},
                {"client": "10.*"},
                {"user": 'print"er1'},
                {"user": "PRINT*"},
                {"min_size": 1000},
                {"states": ("deferred",)},
                {"ids": (self.name(2),)},
            ):
                self.assertEqual([self.name(2)], await self.found(spool, **fields), fields)
            for fields in (
                {"text": "printers"},
                {"text": "100_"},
                {"route": "printer"},
                {"subject": "100_"},
                {"subject": "* 100%"},
                {"message_id": "abxc@x"},
                {"client": "10.0.3.1"},
                {"client": "*lan*"},
                {"user": "lan"},
                {"user": '*", "protocol*'},
                {"error": "429 *nothing"},
                {"provider_id": "op-1"},
                {"min_size": 10_000},
                {"sender": "!"},
                {"sender": "'; DROP TABLE message"},
            ):
                self.assertEqual([], await self.found(spool, **fields), fields)

        return self.play(story)

    def test_what_nobody_sent(self):
        """Reports are found by the sender that they are shown with, and by no other pattern of one."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1)
            await spool.accept(self.draft(sender="", number=2), b"x", [self.planned(self.draft(number=2))])
            self.assertEqual([self.name(2)], await self.found(spool, sender="<>"))
            self.assertEqual([self.name(1)], await self.found(spool, sender="*@*"))

        return self.play(story)

    def test_times(self):
        """Since a time is with it, until a time is without it."""

        async def story(spool: Spool) -> None:
            begin = self.clock.seconds()
            for number in (1, 2, 3):
                await self.send(spool, number=number)
                self.clock.advance(10)
            self.assertEqual([self.name(2), self.name(3)], await self.found(spool, since=begin + 10))
            self.assertEqual([self.name(1)], await self.found(spool, until=begin + 10))
            self.assertEqual([self.name(2)], await self.found(spool, since=begin + 1, until=begin + 20))
            self.assertEqual([], await self.found(spool, since=begin + 9000))

        return self.play(story)

    def test_history(self):
        """What is over comes the last first; by the provider's id, too, and beside what waits."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3, 4):
                await self.send(spool, number=number, provider="other", lane=str(number))
            claims = (await spool.claim()).claims
            by_number = {claim.delivery.id: claim for claim in claims}
            for number in (2, 1):
                self.clock.advance(1)
                await spool.settle(by_number[self.name(number)], done(by_number[self.name(number)]))
            self.clock.advance(1)
            failed = Settlement(
                state="failed",
                outcomes={"anna@example.com": Failed("550 no such user")},
                closed={"anna@example.com": "failed"},
                reason="550 no such user",
            )
            await spool.settle(by_number[self.name(3)], failed)
            over = ("delivered", "failed")
            self.assertEqual(
                [self.name(3), self.name(1), self.name(2)], await self.found(spool, states=over, newest=True)
            )
            self.assertEqual([self.name(1), self.name(2)], await self.found(spool, states=("delivered",)))
            self.assertEqual([self.name(3)], await self.found(spool, states=("failed",)))
            self.assertEqual(
                [self.name(1), self.name(2)], await self.found(spool, states=over, provider_id="OP-*")
            )
            self.assertEqual([self.name(3)], await self.found(spool, states=over, error="no such user"))
            self.assertEqual([self.name(4)], await self.found(spool))
            (line,) = await listed(spool, Selection(states=("failed",)))
            self.assertEqual(self.clock.seconds(), line.ended)

        return self.play(story)

    def test_a_part_that_is_over_is_history(self):
        """What was delivered of a message is found, though others of its recipients wait."""

        async def story(spool: Spool) -> None:
            draft = self.draft("a@example.com", "b@example.com", "c@example.com")
            places = (("main", ""), ("other", "x"), ("other", "y"))
            planned = [
                Planned(route="r", provider=provider, lane=lane, recipients=(Recipient(address=each),))
                for each, (provider, lane) in zip(draft.envelope.addresses, places, strict=True)
            ]
            await spool.accept(draft, b"x", planned)
            claims = {claim.delivery.n: claim for claim in (await spool.claim()).claims}
            await spool.settle(claims[2], done(claims[2]))
            self.assertEqual([self.name(1, 2)], await self.found(spool, states=("delivered",)))
            over = ("delivered", "failed")
            self.assertEqual(
                [self.name(1, 2)], await self.found(spool, states=over, recipient="b@example.com")
            )
            self.assertEqual([], await self.found(spool, states=over, recipient="a@example.com"))
            for n in (1, 3):
                await spool.settle(claims[n], done(claims[n]))
            self.assertEqual(3, len(await self.found(spool, states=over)))

        return self.play(story)

    def test_the_newest_first(self):
        """What waits is listed the oldest first, or the other way if that is asked for."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number)
            ids = [self.name(number) for number in (1, 2, 3)]
            self.assertEqual(ids, await self.found(spool))
            self.assertEqual(ids[::-1], await self.found(spool, newest=True))

        return self.play(story)

    def test_marks_of_others(self):
        """A mark that is none of ours is refused by name, whatever it is."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            for mark in ("x", "id/a/b", "end/yesterday", "ids/0", "id/" + "9" * 99 + "/-1", "end/1/M/x"):
                with self.assertRaises(ValueError, msg=mark) as refused:
                    await spool.admin.search(Selection(states=("queued", "delivered")), mark)
                self.assertEqual(f"{mark!r} is not a page mark", str(refused.exception))

        return self.play(story)

    def test_many_ids(self):
        """A thousand ids are one question for a person; each is looked up."""

        async def story(spool: Spool) -> None:
            for number in range(1, 6):
                await self.send(spool, number=number)
            ids = [self.name(1 + number % 5) for number in range(1200)]
            self.assertEqual(5, len({line.id for line in await listed(spool, Selection(ids=ids))}))

        return self.play(story)
