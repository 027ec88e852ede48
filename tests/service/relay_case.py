"""A relay over real sockets, in a folder of its own, before two servers that take its mail."""

import gc
import tempfile
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.config import load
from smtprelay.interfaces import Events
from smtprelay.service import Relay
from smtprelay.testing.smtp import SmtpSink
from smtprelay.web.context import Reloaded
from tests.ports import free_port
from tests.process.conversation import Conversation
from tests.process.program import eventually
from tests.recording import Recording

CONFIG = """\
hostname: relay.test
control_socket: control.sock
listeners: [{{name: lan, endpoint: "tcp:{lan}:interface=127.0.0.1"}}]
providers: {{one: {{type: smarthost, host: 127.0.0.1, port: {one}, tls: none}}}}
routes: [{{name: all, via: [one], retry: {{first: 100ms, jitter: 0}}}}]
spool: {{path: spool}}
"""


class RelayCase(TestCase):
    """
    A test with such a relay.

    :cvar more: other observers of its events.
    :cvar text: the configuration; ``{one}``, ``{two}``, ``{lan}`` and ``{new}`` are ports.
    """

    timeout = 60
    more: Sequence[Events] = ()
    text = CONFIG

    async def begin(self) -> Relay:
        """Return a relay that is ready, in a folder of its own, before two sinks."""
        # Not trial's own: the path of a UNIX socket has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="smtprelay-"))
        self.addCleanup(rmtree, self.folder)
        self.events = Recording()
        self.sinks = [SmtpSink(clock=reactor), SmtpSink(clock=reactor)]
        self.ports = {"lan": free_port(), "new": free_port()}
        for name, sink in zip(("one", "two"), self.sinks, strict=True):
            port = await sink.listen(reactor)
            self.addCleanup(port.stopListening)
            self.ports[name] = port.getHost().port
        self.write()
        # A reload looks for what is left of the old configuration, which is not among the objects before.
        gc.freeze()
        self.addCleanup(gc.unfreeze)
        self.relay = Relay(self.load(), reactor, events=[self.events, *self.more])
        self.relay.startService()
        self.addCleanup(lambda: self.relay.stopService() if self.relay.running else None)
        await self.relay.started
        return self.relay

    def write(self, *edits: tuple[str, str]) -> None:
        text = self.text
        for old, new in edits:
            self.assertIn(old, text)
            text = text.replace(old, new)
        (self.folder / "relay.yaml").write_text(text.format(**self.ports))

    def load(self):
        return load(str(self.folder / "relay.yaml"), {}).config

    async def reload(self, *edits: tuple[str, str]) -> Reloaded:
        self.write(*edits)
        return await self.relay.reload(self.load())

    async def talk(self, port: str = "lan") -> Conversation:
        talk = await Conversation.open(self.ports[port])
        await talk.say("EHLO client.test")
        self.addCleanup(talk.close)
        return talk

    async def arrived(self, sink: int, count: int) -> None:
        await eventually(lambda: len(self.sinks[sink].messages) == count, f"{count} mails at {sink}")
