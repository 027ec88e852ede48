"""The list of refused mail, and what nodes say of providers that cannot be reached."""

from attrs import evolve

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Settlement
from smtprelay.model.outcome import Deferred
from smtprelay.model.queue import Unreachable
from smtprelay.model.refusal import MOST_OF_CLIENT, MOST_ROWS, RefusalFilter, RefusalRow
from smtprelay.model.route import RateLimit
from tests.behaviours.spool_stories import SpoolStories

ROW = RefusalRow(
    listener="lan", client="10.0.3.7", user="", rule="network", reply="550 5.7.1", domain="x.test", count=1,
    first=100.0, last=100.0, command="MAIL FROM:<a@x.test>", text="no",
)  # fmt: skip

TROUBLE = Unreachable(
    provider="one", since=5.0, host="h:25", stage="connect", reason="connect at h:25: refused"
)

EVERYTHING = RefusalFilter()


class RefusalContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    def test_equal_refusals_are_one_row(self):
        """Their count grows, first and last time and the last words are kept; what differs is another row."""

        async def story(spool: Spool) -> None:
            await spool.refusals.record([ROW])
            newer = evolve(
                ROW, count=3, first=150.0, last=200.0, command="RCPT TO:<b@y.test>", text="still no"
            )
            await spool.refusals.record([newer, evolve(ROW, user="joe", last=50.0)])
            first, second = await spool.refusals.refused(EVERYTHING)
            self.assertEqual(first, evolve(newer, count=4, first=100.0))
            self.assertEqual((second.user, second.count), ("joe", 1))

        return self.play(story)

    def test_refusals_have_an_end(self):
        """There are a thousand rows at most; those that were refused last stay."""

        async def story(spool: Spool) -> None:
            rows = [evolve(ROW, client=f"10.1.{n // 250}.{n % 250}", last=float(n)) for n in range(MOST_ROWS)]
            await spool.refusals.record(rows)
            more = [evolve(ROW, client=f"10.2.0.{n}", last=5000.0 + n) for n in range(20)]
            await spool.refusals.record(more)
            kept = await spool.refusals.refused(EVERYTHING)
            self.assertEqual(len(kept), MOST_ROWS)
            self.assertEqual(kept[:20], more[::-1])
            self.assertEqual(kept[-1].last, 20.0)

        return self.play(story)

    def test_one_client_hides_no_other(self):
        """Of one client a tenth of the rows is kept, its newest; the rows of others stay."""

        async def story(spool: Spool) -> None:
            others = [evolve(ROW, client=f"10.1.0.{n}", last=float(n)) for n in range(50)]
            await spool.refusals.record(others)
            many = [evolve(ROW, client="2001:db8::/64", domain=f"d{n}", last=100.0 + n) for n in range(1200)]
            await spool.refusals.record(many[:600])
            await spool.refusals.record(many[600:])
            kept = await spool.refusals.refused(EVERYTHING)
            self.assertEqual(kept, [*many[: -MOST_OF_CLIENT - 1 : -1], *others[::-1]])

        return self.play(story)

    def test_what_was_never_said(self):
        """Refusals without a reply are told apart by their text."""

        async def story(spool: Spool) -> None:
            first, second = (evolve(ROW, reply="", rule="protocol", text=text) for text in ("old", "bad"))
            await spool.refusals.record([first, second])
            await spool.refusals.record([first])
            kept = {row.text: (row.reply, row.count) for row in await spool.refusals.refused(EVERYTHING)}
            self.assertEqual(kept, {"old": ("", 2), "bad": ("", 1)})

        return self.play(story)

    def test_some_of_the_refusals(self):
        """They are found by client, user, rule and time, and cleared so."""

        async def story(spool: Spool) -> None:
            rows = [
                ROW,
                evolve(ROW, client="2001:db8:0:1::/64", last=300.0),
                evolve(ROW, rule="auth", user="joe", last=200.0),
            ]
            await spool.refusals.record(rows)
            for wanted, found in (
                (RefusalFilter(client="10.0.3.7"), [rows[2], rows[0]]),
                (RefusalFilter(client="10.*", limit=1), [rows[2]]),
                (RefusalFilter(client="2001:db8:0:1::5"), [rows[1]]),
                (RefusalFilter(user="JO*"), [rows[2]]),
                (RefusalFilter(rule="network", since=200.0), [rows[1]]),
                (RefusalFilter(client="[1]0.0.3.7"), []),
            ):
                self.assertEqual(await spool.refusals.refused(wanted), found, wanted)
            self.assertEqual(await spool.refusals.clear(RefusalFilter(client="10.0.3.7")), 2)
            self.assertEqual(await spool.refusals.refused(EVERYTHING), [rows[1]])
            self.assertEqual(await spool.refusals.clear(EVERYTHING), 1)

        return self.play(story)

    def test_what_no_database_takes(self):
        """Text that cannot be stored is made storable."""

        async def story(spool: Spool) -> None:
            await spool.refusals.record([evolve(ROW, user="a\0b\ud800", text="\0", command="\udfff")])
            self.assertEqual(len(await spool.refusals.refused(EVERYTHING)), 1)

        return self.play(story)

    def test_a_provider_that_cannot_be_reached(self):
        """It is in the statistics with the newest reason until it is reached; only the first note is news."""

        async def story(spool: Spool) -> None:
            self.assertTrue(await spool.admin.note_reachability("one", TROUBLE))
            self.assertEqual((await spool.admin.stats()).unreachable, [TROUBLE])
            worse = evolve(TROUBLE, stage="TLS", reason="TLS at h:25: no")
            await spool.admin.note_reachability("one", worse)
            self.assertEqual((await spool.admin.stats()).unreachable, [worse])
            self.assertTrue(await spool.admin.note_reachability("one", None))
            self.assertEqual((await spool.admin.stats()).unreachable, [])
            self.assertFalse(await spool.admin.note_reachability("one", None), "no news")

        return self.play(story)

    def test_it_lasts_over_a_restart(self):
        """Whoever asks after a restart is told before the provider is asked again."""

        async def story(spool: Spool) -> None:
            await spool.admin.note_reachability("one", TROUBLE)
            await spool.recover()
            self.assertEqual((await spool.admin.stats()).unreachable, [TROUBLE])

        return self.play(story)

    def test_reached_again(self):
        """What could not be sent goes at once, also to the host before this one; other mail waits."""

        async def story(spool: Spool) -> None:
            sent = []
            unconnected, silent = "no connection to h:25 within 30 s", "no answer to AUTH of h:25 within 30 s"
            gone = "resolve at old.test: unknown"
            reasons = (unconnected, silent, gone, "the sender was refused: 451 greylisted")
            for number, why in enumerate(reasons, start=1):
                await self.send(spool, number=number)
                (claim,) = (await spool.claim()).claims
                sent.append(claim.delivery.id)
                outcomes = {"anna@example.com": Deferred(why)}
                due = self.clock.seconds() + 3600
                later = Settlement(state="deferred", outcomes=outcomes, due=due, reason=why)
                await spool.settle(claim, later)
            await spool.admin.note_reachability("main", evolve(TROUBLE, provider="main"))
            await spool.admin.note_reachability("other", None)
            self.assertEqual([], list((await spool.claim()).claims))
            await spool.admin.note_reachability("main", None)
            claimed = [each.delivery.id for each in (await spool.claim()).claims]
            self.assertEqual(sent[:3], claimed)

        return self.play(story, {"main": RateLimit(concurrency=4)})
