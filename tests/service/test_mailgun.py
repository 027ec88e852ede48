"""A relay before Mailgun and Resend, as ``etc/examples`` has it."""

import tempfile
from pathlib import Path
from shutil import rmtree

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.config import load
from smtprelay.service import Relay
from smtprelay.testing.mailgun import FakeMailgun
from smtprelay.testing.resend import FakeResend
from tests.ports import free_port
from tests.process.conversation import Conversation
from tests.process.program import eventually
from tests.providers.http_wiring import served
from tests.recording import Recording

EXAMPLE = Path(__file__).parents[2] / "etc" / "examples" / "mailgun.yaml"
MAIL = "From: app@example.org\r\nTo: a@example.net, b@example.net\r\nSubject: test\r\n\r\nHello"


class MailgunRelayTests(TestCase):
    timeout = 60

    async def start(self, key: str) -> None:
        """Have a relay with the example, which has this key of Mailgun, before both fakes."""
        folder = tempfile.mkdtemp(prefix="smtprelay-")
        self.addCleanup(rmtree, folder)
        self.gun = FakeMailgun(reactor, "key", ["mg.example.com"])
        self.re = FakeResend(reactor, ["re_key"], ["example.org"])
        self.smtp = free_port()
        sets = [
            f"control_socket={folder}/c.sock",
            f"listeners.0.endpoint=tcp:{self.smtp}:interface=127.0.0.1",
            f"http.0.endpoint=tcp:{free_port()}:interface=127.0.0.1",
            f"spool.path={folder}/spool",
            f"providers.gun.endpoint=http://127.0.0.1:{served(self, self.gun)}",
            f"providers.re.endpoint=http://127.0.0.1:{served(self, self.re)}",
        ]
        self.events = Recording()
        keys = {"MAILGUN_API_KEY": key, "RESEND_API_KEY": "re_key"}
        relay = Relay(load(str(EXAMPLE), keys, sets).config, reactor, events=[self.events])
        relay.startService()
        self.addCleanup(relay.stopService)
        await relay.started

    async def send(self, *recipients: str) -> None:
        talk = await Conversation.open(self.smtp)
        self.addCleanup(talk.close)
        for line in ("EHLO client.test", "MAIL FROM:<app@example.org>", *recipients, "DATA"):
            await talk.say(line if "@" not in line or ":" in line else f"RCPT TO:<{line}>")
        self.assertEqual((await talk.say(f"{MAIL}\r\n."))[:3], "250")

    async def test_mailgun(self) -> None:
        """Mailgun takes the mail, as it came, for the recipients of the envelope."""
        await self.start("key")
        await self.send("a@example.net", "blind@example.net")
        await eventually(lambda: self.events.of("message.delivered"), "the mail")
        [mail] = self.gun.mails
        self.assertEqual(list(mail.recipients), ["a@example.net", "blind@example.net"])
        self.assertTrue(mail.raw.endswith(b"\r\n\r\nHello\r\n"))
        self.assertEqual(self.re.mails, [])

    async def test_other_provider(self) -> None:
        """A wrong key sends the mail to Resend at once; one address that it does not take bounces alone."""
        await self.start("wrong")
        self.re.refuses = {"b@example.net"}
        await self.send("a@example.net", "b@example.net", "blind@example.net")
        await eventually(lambda: self.events.of("message.failed"), "the refusal of one")
        await eventually(lambda: len(self.re.mails) == 3, "the mail to the others, and the bounce")
        people = sorted(address for mail in self.re.mails for address in mail.recipients)
        self.assertEqual(people, ["a@example.net", "app@example.org", "blind@example.net"])
        self.assertEqual(self.gun.mails, [])
