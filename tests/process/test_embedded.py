"""
Two relays inside one process: nothing of theirs is global.
"""

import tempfile
from pathlib import Path
from shutil import rmtree

from prometheus_client import generate_latest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import TestCase

from smtprelay.config import load
from smtprelay.service import Relay
from tests.process.conversation import Conversation
from tests.process.program import eventually
from tests.process.relay_process import message
from tests.recording import Recording

CONFIG = """\
hostname: {name}.test
listeners: [{{name: lan, endpoint: "tcp:0:interface=127.0.0.1"}}]
providers: {{out: {{type: capture, path: captured}}}}
spool: {{path: spool}}
"""


class EmbeddedTests(TestCase):
    def embed(self, name: str) -> Relay:
        """Return a relay, started, in a folder of its own."""
        folder = Path(tempfile.mkdtemp(prefix="smtprelay-"))
        self.addCleanup(rmtree, folder)
        file = folder / "relay.yaml"
        file.write_text(CONFIG.format(name=name))
        relay = Relay(load(str(file), {}).config, reactor, events=[Recording()])
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
        """It fails alone, and leaves nothing open: the other one has the spool, and goes on."""
        first = self.embed("first")
        await first.started
        second = Relay(first.config, reactor, events=[Recording()])
        second.startService()
        failure = await second.started.addErrback(lambda failure: failure.value)
        self.assertIn("is in use by process", str(failure))
        await self.hand_in(first, 1)
        await first.stopService()
