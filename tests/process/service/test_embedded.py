"""
Two relays inside one process: nothing of theirs is global.
"""

import socket
import tempfile
from pathlib import Path
from shutil import rmtree

from prometheus_client import generate_latest
from twisted.application.service import MultiService
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import TestCase

from smtprelay.config import load
from smtprelay.service import Relay
from tests.process.conversation import Conversation
from tests.process.program import Program, eventually
from tests.process.relay_process import message
from tests.process.stage import Stage
from tests.recording import Recording
from tests.test_readme import ROOT, blocks

CONFIG = """\
hostname: {name}.test
listeners: [{{name: lan, endpoint: "{endpoint}"}}]
providers: {{out: {{type: capture, path: captured}}}}
spool: {{path: spool}}
"""


class EmbeddedTests(TestCase):
    def relay(self, name: str, events: Recording, endpoint: str = "tcp:0:interface=127.0.0.1") -> Relay:
        """Return a relay in a folder of its own."""
        folder = Path(tempfile.mkdtemp(prefix="smtprelay-"))
        self.addCleanup(rmtree, folder)
        file = folder / "relay.yaml"
        file.write_text(CONFIG.format(name=name, endpoint=endpoint))
        return Relay(load(str(file), {}).config, reactor, events=[events])

    def embed(self, name: str) -> Relay:
        """Return a relay in a folder of its own, started."""
        relay = self.relay(name, Recording())
        relay.startService()
        self.addCleanup(lambda: relay.stopService() if relay.running else None)
        return relay

    async def hand_in(self, relay: Relay, count: int) -> None:
        """Send mails, and wait until they are in the folder of ``relay``."""
        expected = len(self.kept(relay)) + count
        talk = await Conversation.open(relay.addresses["lan"].port)
        self.assertIn(relay.config.hostname, await talk.say("EHLO client.test"))
        for number in range(count):
            self.assertIn("250 2.0.0 Ok", await talk.mail(message(f"mail {number}"), "user@example.com"))
        await talk.close()
        await eventually(lambda: len(self.kept(relay)) == expected, "the mail in the folder")

    def kept(self, relay: Relay) -> list[Path]:
        return list(Path(relay.config.providers["out"].path).glob("new/*"))

    def received(self, relay: Relay) -> str:
        """Return how much mail came in, as the relay's own registry counts it."""
        lines = generate_latest(relay.metrics.registry).decode().splitlines()
        [line] = [line for line in lines if line.startswith("smtprelay_messages_received_total{")]
        return line.split()[-1]

    async def test_two_relays(self) -> None:
        """Each has its port, its spool, its numbers; the end of one is not the end of the other."""
        first, second = self.embed("first"), self.embed("second")
        await first.started
        await second.started
        await self.hand_in(first, 2)
        await self.hand_in(second, 3)
        self.assertEqual([self.received(first), self.received(second)], ["2.0", "3.0"])
        await first.stopService()
        await self.hand_in(second, 1)
        self.assertEqual([len(self.kept(first)), len(self.kept(second))], [2, 4])
        await second.stopService()

    async def test_stopped_while_it_starts(self) -> None:
        """What it has opened by then, and what it opens after, is closed: the next one has the spool."""
        first = self.embed("first")
        await first.stopService()
        with self.assertRaises(CancelledError):
            await first.started
        second = Relay(first.config, reactor, events=[Recording()])
        second.startService()
        await second.started
        await self.hand_in(second, 1)
        await second.stopService()

    async def test_a_relay_that_cannot_start(self) -> None:
        """It says so, runs no more, and leaves nothing open: the other one has the spool, and goes on."""
        first = self.embed("first")
        await first.started
        events = Recording()
        second = Relay(first.config, reactor, events=[events])
        second.startService()
        failure = await second.started.addErrback(lambda failure: failure.value)
        self.assertIn("is in use by process", str(failure))
        [told] = events.of("relay.failed")
        self.assertEqual((told["reason"], second.running), (str(failure), False))
        await self.hand_in(first, 1)
        await first.stopService()

    async def test_without_its_listener(self) -> None:
        """A port that somebody else has fails the start of a relay that an application holds."""
        first = self.embed("first")
        await first.started
        taken = first.addresses["lan"]
        events = Recording()
        second = self.relay("second", events, endpoint=f"tcp:{taken.port}:interface=127.0.0.1")
        application = MultiService()
        second.setServiceParent(application)
        application.startService()
        failure = await second.started.addErrback(lambda failure: failure.value)
        self.assertEqual((failure.status, second.running), (69, False))
        self.assertEqual(events.of("relay.failed"), [{"reason": str(failure), "status": 69}])
        self.assertFalse(Path(second.config.control_socket).exists())
        await application.stopService()


class ProgramTests(Stage, TestCase):
    """The complete program of ``docs/embedding.rst``."""

    def program(self, endpoint: str) -> Program:
        (self.folder / "smtprelay.yaml").write_text(CONFIG.format(name="first", endpoint=endpoint))
        code = blocks(ROOT / "docs" / "embedding.rst", "python")[0]
        return self.ending_program(Program.forked(["-c", code], self.folder))

    async def test_runs(self) -> None:
        """It tells where it listens, and ends at SIGTERM with 0."""
        program = self.program("tcp:0:interface=127.0.0.1")
        await program.says("^listening on .*127.0.0.1")
        self.assertEqual((await program.stop(), program.err), (0, b""))

    async def test_cannot_start(self) -> None:
        """A port that is taken is told on the standard error, and the exit status says so."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            program = self.program(f"tcp:{port}:interface=127.0.0.1")
            self.assertEqual(await program.ends(), 69)
        self.assertEqual(program.out, b"")
        self.assertIn(f"127.0.0.1:{port} is in use", program.err.decode())
        self.assertNotIn("Traceback", program.err.decode())

    async def test_wrong_configuration(self) -> None:
        """So is a mistake in the configuration."""
        program = self.program("tcp:nowhere")
        self.assertEqual(await program.ends(), 78)
        self.assertIn("not an endpoint", program.err.decode())
        self.assertNotIn("Traceback", program.err.decode())
