"""A relay before Graph, as ``etc/examples`` has it: what devices do that cannot log in."""

import email
import tempfile
from pathlib import Path
from shutil import rmtree

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.config import load
from smtprelay.service import Relay
from smtprelay.testing.entra import FakeEntra
from smtprelay.testing.graph import FakeGraph
from smtprelay.testing.graph_mail import GraphRefuses
from tests.process.conversation import Conversation
from tests.process.program import eventually
from tests.providers.aws_peers import free_port
from tests.providers.http_wiring import served
from tests.recording import Recording

EXAMPLE = Path(__file__).parents[2] / "etc" / "examples" / "graph.yaml"
CLIENT, SECRET = "11111111-2222-3333-4444-555555555555", "s3cr3t~value"
ALERTS, ANN, BEN = "alerts@example.com", "ann@example.com", "ben@example.com"


class GraphRelayTests(TestCase):
    timeout = 60

    async def start(self, *sets: str) -> None:
        """Have a relay with the example before both fakes."""
        folder = tempfile.mkdtemp(prefix="smtprelay-")
        self.addCleanup(rmtree, folder)
        entra = FakeEntra(reactor)
        entra.application("contoso.com", CLIENT).secrets[SECRET] = float("inf")
        self.fake = FakeGraph(
            reactor, lambda token: entra.knows(token, "https://graph.microsoft.com"), [ALERTS, ANN, BEN]
        )
        self.smtp = free_port()
        given = [
            f"control_socket={folder}/c.sock",
            f"listeners.0.endpoint=tcp:{self.smtp}:interface=127.0.0.1",
            f"http.0.endpoint=tcp:{free_port()}:interface=127.0.0.1",
            f"spool.path={folder}/spool",
            f"providers.graph.endpoint=http://127.0.0.1:{served(self, self.fake)}",
            f"providers.graph.authority=http://127.0.0.1:{served(self, entra)}",
        ]
        self.events = Recording()
        secrets = {"GRAPH_CLIENT_ID": CLIENT, "GRAPH_CLIENT_SECRET": SECRET}
        self.relay = Relay(load(str(EXAMPLE), secrets, [*given, *sets]).config, reactor, events=[self.events])
        self.relay.startService()
        self.addCleanup(lambda: self.relay.stopService() if self.relay.running else None)
        await self.relay.started

    async def send(self, sender: str, *recipients: str, body: str = "Subject: Scan\r\n\r\nHello") -> None:
        talk = await Conversation.open(self.smtp)
        self.addCleanup(talk.close)
        await talk.say("EHLO scanner")
        await talk.say(f"MAIL FROM:<{sender}>")
        for address in recipients:
            await talk.say(f"RCPT TO:<{address}>")
        await talk.say("DATA")
        self.assertEqual((await talk.say(f"{body}\r\n."))[:3], "250")

    async def delivered(self, count: int = 1) -> None:
        await eventually(lambda: len(self.events.of("message.delivered")) >= count, "the mail")

    async def test_scanner(self) -> None:
        """A device without a login, whose mail has no Date, From and To, and bare line feeds."""
        await self.start()
        await self.send(ANN, "boss@example.com", "helpdesk@example.com", body="Subject: Scan\n\nHello\nyou")
        await self.delivered()
        [mail] = self.fake.mails
        self.assertEqual((mail.mailbox, mail.author), (ANN, ANN))
        self.assertEqual(list(mail.bcc), ["boss@example.com", "support@example.com"])
        message = email.message_from_bytes(mail.raw)
        self.assertTrue(message["Date"] and message["Message-ID"])
        self.assertEqual(message.get_payload(), "Hello\r\nyou\r\n")
        [told] = self.events.of("message.delivered")
        self.assertRegex(str(told["provider_id"]), r"\Arequest-[0-9]+\Z")

    async def test_no_mailbox(self) -> None:
        """A sender without a mailbox: the fallback sends its mail, and answers go to it."""
        await self.start()
        await self.send(
            "nas@example.com", "boss@example.com", body="From: NAS <nas@example.com>\r\n\r\nHello"
        )
        await self.delivered()
        [mail] = self.fake.mails
        message = email.message_from_bytes(mail.raw)
        self.assertEqual((mail.mailbox, message["From"]), (ALERTS, f"NAS <{ALERTS}>"))
        self.assertEqual(message["Reply-To"], "NAS <nas@example.com>")

    async def test_failure_is_told(self) -> None:
        """Mail that Graph refuses: its sender and the address of the domain are told, through Graph, too."""
        await self.start()
        self.fake.invalid.add("nobody@example.net")
        await self.send(ANN, "nobody@example.net")
        await eventually(lambda: self.fake.mails, "the report")
        [report] = self.fake.mails
        self.assertEqual((report.mailbox, sorted(report.recipients)), (ALERTS, [ANN, "it@example.com"]))
        self.assertIn(b"ErrorInvalidRecipients", report.raw)

    async def test_one_mailbox_refused(self) -> None:
        """What Graph does not permit one mailbox stops that one."""
        await self.start()
        self.fake.mailboxes[ANN].refusal = GraphRefuses(403, "ErrorAccessDenied", "Access is denied.")
        await self.send(ANN, "boss@example.com")
        await eventually(lambda: self.events.of("lane.blocked"), "the block")
        [blocked] = self.events.of("lane.blocked")
        self.assertEqual(blocked["lane"], ANN)
        self.assertIn("Mail.Send", str(blocked["reason"]))
        await self.send(BEN, "boss@example.com")
        await self.delivered()
