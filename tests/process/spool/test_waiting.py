"""
A relay that is started before the database that has its spool comes up by itself.
"""

from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.service.workers.api_proxy import ask
from tests.postgres import Server
from tests.process.conversation import Conversation
from tests.process.program import Program, eventually
from tests.process.relay_process import RelayProcess, message, on_postgres
from tests.process.service.supervised import CAPTURE, SupervisedRelay
from tests.process.stage import Stage

WORKERS = """\
spool: {engine: postgres, url: {file: url}}
control_socket: control.sock
workers: 2
supervise: {restarts_per_hour: 1}
"""


class WaitingTests(Stage, TestCase):
    async def database(self) -> Server:
        """Return a server that has been and is not there."""
        server = await deferToThread(Server.new, self.folder / "database")
        self.addCleanup(deferToThread, server.kill)
        await deferToThread(server.kill)
        return server

    async def health(self) -> str:
        """Return what an orchestrator is told of its readiness."""
        answer = await ask(reactor, str(self.folder / "control.sock"), "GET", "/readyz")
        return answer.body.decode()

    async def test_one_process(self) -> None:
        """It tells what it waits for, and is not ready; then it takes mail."""
        database = await self.database()
        spool = on_postgres(self.folder, database.url)
        relay = self.ending(RelayProcess.of(self.folder, CAPTURE, spool=spool))
        life = relay.launch()
        await life.says('"event":"spool.unavailable".*no connection to the database')
        self.assertIn("no connection to the database", await self.health())
        with self.assertRaisesRegex(AssertionError, "exit status 75: .*no connection to the database"):
            await relay.cli("queue", "list")
        self.assertFalse((await relay.cli("status"))["ready"]["ok"])
        self.assertNotIn(b"relay.ready", life.out)
        await deferToThread(database.start)
        await relay.ready(life)
        self.assertIn("250 2.0.0", await relay.send(message("late"), "user@example.com"))
        self.assertEqual(await self.health(), "ok\n")
        await life.says('"event":"message.delivered"')
        self.assertEqual(await relay.queued(), [])
        self.assertEqual(await relay.stop(), 0)

    async def test_stopped_meanwhile(self) -> None:
        """SIGTERM ends the wait; 0."""
        database = await self.database()
        spool = on_postgres(self.folder, database.url)
        life = self.ending(RelayProcess.of(self.folder, CAPTURE, spool=spool)).launch()
        await life.says('"event":"spool.unavailable"')
        self.assertEqual(await life.stop(), 0)
        self.assertEqual(life.err, b"")

    async def test_workers(self) -> None:
        """None of them dies of it; who wants to hand in mail is told to come again, until one is ready."""
        database = await self.database()
        (self.folder / "url").write_text(database.url)
        relay = self.ending(SupervisedRelay.with_workers(self.folder, more=WORKERS))
        text = relay.config.read_text().replace("tcp:0:interface=127.0.0.1", "unix:in.sock")
        relay.config.write_text(text)
        life = relay.launch()
        await eventually(lambda: self.away(life) == {1, 2}, "both")
        door = UNIXClientEndpoint(reactor, str(self.folder / "in.sock"))
        talk = await door.connect(Factory.forProtocol(Conversation))
        self.assertTrue((await talk.reply()).startswith("421 4.3.2 relay.test "))
        await talk.gone
        self.assertIn("it waits for the spool's database", await self.health())
        with self.assertRaisesRegex(
            AssertionError, "exit status 75: .*they wait for the database of the spool"
        ):
            await relay.cli("queue", "list")
        await deferToThread(database.start)
        await life.says('"event":"relay.ready"')

        async def is_let_in() -> bool:
            talk = await door.connect(Factory.forProtocol(Conversation))
            told = await talk.reply()
            await talk.close()
            # Who came in the last moment before may still be told to come again.
            self.assertIn(told[:3], ("220", "421"))
            return told.startswith("220")

        await eventually(is_let_in, "a client that is let in")
        [row] = await eventually(lambda: self.refused(relay), "the supervisor's refusal in the list")
        self.assertEqual((row["rule"], row["client"], row["reply"]), ("not-ready", "unix", "421 4.3.2"))
        await eventually(lambda: life.out.count(b'"event":"worker.ready"') == 2, "both ready")
        self.assertNotIn(b"worker.died", life.out)
        self.assertEqual(await relay.stop(), 0)

    async def refused(self, relay: SupervisedRelay) -> list[dict[str, Any]]:
        return list((await relay.ask("refused"))["refused"])

    def away(self, life: Program) -> set[int]:
        """Return the workers that have said that they wait."""
        lines = [line for line in life.out.splitlines() if b'"event":"spool.unavailable"' in line]
        return {number for number in (1, 2) if any(b'"worker":%d' % number in line for line in lines)}
