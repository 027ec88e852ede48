"""A relay before Azure Communication Services with Entra, as ``etc/examples`` has it."""

import tempfile
from pathlib import Path
from shutil import rmtree

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.config import load
from smtprelay.service import Relay
from smtprelay.testing.acs import FakeAcs
from smtprelay.testing.entra import FakeEntra
from tests.ports import free_port
from tests.process.conversation import Conversation
from tests.process.program import eventually
from tests.providers.http_wiring import served
from tests.recording import Recording

EXAMPLE = Path(__file__).parents[2] / "etc" / "examples" / "acs-entra.yaml"
CLIENT = "11111111-2222-3333-4444-555555555555"
MAIL = "From: app@example.org\r\nTo: a@example.net\r\nSubject: test\r\n\r\nHello"


class EntraRelayTests(TestCase):
    timeout = 60

    async def start(self, secret: str) -> None:
        """Have a relay with the example, which has this secret and a mail."""
        folder = tempfile.mkdtemp(prefix="smtprelay-")
        self.addCleanup(rmtree, folder)
        entra, smtp = FakeEntra(reactor), free_port()
        entra.application("contoso.com", CLIENT).secrets["right"] = float("inf")
        acs = self.acs = FakeAcs(reactor, [], retry_after=0)
        acs.takes = lambda token: entra.knows(token, "https://communication.azure.com")
        sets = [
            f"control_socket={folder}/c.sock",
            f"listeners.0.endpoint=tcp:{smtp}:interface=127.0.0.1",
            f"http.0.endpoint=tcp:{free_port()}:interface=127.0.0.1",
            f"spool.path={folder}/spool",
            f"providers.acs.endpoint=http://127.0.0.1:{served(self, acs)}",
            f"providers.acs.authority=http://127.0.0.1:{served(self, entra)}",
        ]
        self.events = Recording()
        config = load(str(EXAMPLE), {"ENTRA_CLIENT_SECRET": secret}, sets).config
        relay = Relay(config, reactor, events=[self.events])
        relay.startService()
        self.addCleanup(relay.stopService)
        await relay.started
        talk = await Conversation.open(smtp)
        self.addCleanup(talk.close)
        for line in ("EHLO c.test", "MAIL FROM:<app@example.org>", "RCPT TO:<a@example.net>", "DATA"):
            await talk.say(line)
        self.assertEqual((await talk.say(f"{MAIL}\r\n."))[:3], "250")

    async def test_sent(self) -> None:
        """The mail is sent with a token."""
        await self.start("right")
        await eventually(lambda: self.events.of("message.delivered"), "the mail")
        self.assertEqual(len(self.acs.mails), 1)

    async def test_wrong_secret(self) -> None:
        """A wrong secret blocks the provider, and says what to do."""
        await self.start("wrong")
        await eventually(lambda: self.events.of("lane.blocked"), "the wrong secret")
        [blocked] = self.events.of("lane.blocked")
        self.assertIn("use the secret's value, not its id", str(blocked["reason"]))
        self.assertEqual(self.acs.exchanges, [])
