"""The spool in memory keeps the contract, without waiting for anything."""

from attrs import evolve
from twisted.internet import defer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.attempt import Feedback, Settlement
from smtprelay.model.outcome import Deferred
from smtprelay.model.queue import Edit, Selection, Unreachable
from smtprelay.model.queue_admin import Prepared
from smtprelay.spool.engines.memory import open_memory
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.spool.engines.transaction import Locking
from tests.behaviours.spool import SpoolContract
from tests.behaviours.spool_stories import RATE_LIMITS, done
from tests.listed import listed
from tests.recording import Recording


class MemoryTests(SpoolContract, SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1000)

    def play(self, story, rate_limits=RATE_LIMITS, **opening):
        async def tell() -> None:
            spool = open_memory(
                SpoolOptions(rate_limits=rate_limits, events=Recording(), **opening), clock=self.clock
            )
            await story(spool)
            await spool.close()

        self.successResultOf(defer.Deferred.fromCoroutine(tell()))

    def test_a_reroute_of_an_earlier_version(self):
        """A row that says redirect still shows in the history, and is no try."""

        async def prepare(*_):
            return Prepared(lane="")

        async def story(spool):
            await self.send(spool)
            edit = Edit(action="reroute", provider="other", who="ops")
            await spool.admin.edit(Selection(everything=True), edit, "", prepare)
            spool._writer.writer.connection.execute("UPDATE attempt SET outcome = 'redirect'")
            (line,) = await listed(spool, Selection(everything=True))
            (detail,) = await spool.admin.show(line.id)
            self.assertEqual(["redirect"], [each.outcome for each in detail.history])
            self.assertEqual(0, detail.summary.attempts)

        return self.play(story)

    def test_suspects_are_looked_for_only_where_a_relay_has_died(self):
        """Nothing is asked of them in a spool without any, from the second claim on; a permit needs one."""

        async def story(spool):
            told = []
            spool._writer.writer.connection.set_trace_callback(told.append)

            async def asked() -> int:
                told.clear()
                await spool.claim()
                return sum("suspect > 0 AND suspect < 3" in sql for sql in told)

            async def given_back() -> list[str]:
                permit = await spool.permits.acquire("x", "other", "")
                told.clear()
                await spool.permits.give_back(permit, Feedback())
                return [sql for sql in told if "suspect > 0 AND suspect < 3" in sql]

            self.assertEqual([1, 0], [await asked(), await asked()])
            self.assertEqual([], await given_back())
            await self.send(spool)
            await spool.claim()
            await spool.recover()
            (question,) = await given_back()
            self.assertTrue(question.endswith("LIMIT 1"))
            self.assertEqual(1, await asked())

        return self.play(story)

    def test_who_drops_messages_takes_their_providers_in_order(self):
        """All at once, before one of them is changed: so two nodes do not each wait for the other."""

        async def story(spool):
            connection = spool._writer.writer.connection
            lanes = await spool._writer.do(lambda tx: tx.lanes)
            engine = spool._writer.writer._engine
            told = []

            async def taken(step) -> None:
                lanes.forget()
                lanes._lock = " "  # as where several nodes write
                engine.node = evolve(engine.node, locking=Locking(row=" "))
                told.clear()
                connection.set_trace_callback(told.append)
                self.assertTrue(await step)
                connection.set_trace_callback(None)
                first = next(sql for sql in told if " FROM lane WHERE key = ''" in sql or "WHERE id =" in sql)
                self.assertIn("provider IN ('main', 'other') ORDER BY id", first)

            for number, provider in enumerate(("other", "main"), start=1):
                await self.send(spool, number=number, provider=provider)
            for claim in (await spool.claim()).claims:
                await spool.settle(claim, done(claim))
            await taken(spool.maintenance.sweep(9e9))
            for number, provider in enumerate(("other", "main"), start=3):
                await self.send(spool, number=number, provider=provider)
            everything = Selection(everything=True)
            await taken(spool.archive.export(everything, moving=True))
            await taken(spool.archive.exported([self.draft(number=each).id for each in (3, 4)], "ops"))

        return self.play(story)

    def test_deleted_together(self):
        """The bodies of many that are deleted at once go with few statements, also where bodies are kept."""

        async def story(spool):
            for number in range(1, 31):
                await self.send(spool, number=number)
            told = []
            connection = spool._writer.writer.connection
            connection.set_trace_callback(lambda sql: told.append(" ".join(sql.split()[:3])))
            await spool.admin.edit(Selection(everything=True), Edit(action="delete", who="ops"))
            connection.set_trace_callback(None)
            self.assertEqual(1, told.count("UPDATE message SET"))
            self.assertEqual(1, told.count("DELETE FROM chunk"))
            self.assertEqual(0, connection.execute("SELECT count(*) FROM chunk").fetchone()[0])

        return self.play(story, keeps_bodies=True)

    def test_a_provider_that_is_reached_again(self):
        """However much waits for another reason, to look for what waits for it costs the same."""

        async def story(spool):
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            outcomes = {"anna@example.com": Deferred("451 greylisted")}
            await spool.settle(
                claim, Settlement(state="deferred", outcomes=outcomes, due=self.clock.seconds() + 3600)
            )
            connection = spool._writer.writer.connection
            costs = []
            for more in (20_000, 40_000):
                self.copy(connection, more)
                await spool.admin.note_reachability(
                    "main", Unreachable("main", 5.0, "h:25", "connect", "refused")
                )
                steps = []
                connection.set_progress_handler(lambda steps=steps: steps.append(1), 1000)
                await spool.admin.note_reachability("main", None)
                connection.set_progress_handler(None, 0)
                costs.append(len(steps))
            self.assertLess(costs[1], 1.2 * costs[0])

        return self.play(story)

    def copy(self, connection, count):
        """Have ``count`` more of the one delivery that there is."""
        row = connection.execute("SELECT * FROM delivery").fetchone()[1:]
        marks = ", ".join("?" * (1 + len(row)))
        rows = ((f"{count}-{number}", *row) for number in range(count))
        connection.executemany(f"INSERT INTO delivery VALUES ({marks})", rows)
