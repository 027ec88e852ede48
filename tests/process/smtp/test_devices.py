"""
What old devices and scripts say, to listeners as an operator sets them up for them.
"""

import ssl
import tempfile
from base64 import b64encode
from pathlib import Path
from shutil import rmtree

from twisted.internet import reactor
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.config import load
from smtprelay.policy.password_hash import hash_password
from smtprelay.service import Relay
from smtprelay.testing.certificates import make_certificate
from tests.process.conversation import Conversation
from tests.process.program import eventually
from tests.recording import Recording
from tests.smtp.test_starttls import Client

CONFIG = """\
hostname: relay.test
users: [{{name: ann, password_hash: {hash}}}]
checkers: {{open: {{type: any}}}}
listeners:
  - name: devices
    endpoint: "tcp:0:interface=127.0.0.1"
    auth: {{checkers: [users, open], required: true, allow_plaintext: true}}
  - name: scripts
    endpoint: "tcp:0:interface=127.0.0.1"
    bare_newlines: accept
    allow_recipients: ["*@example.com"]
  - name: local
    endpoint: "unix:local.sock"
  - name: old
    endpoint: "tcp:0:interface=127.0.0.1"
    tls: {{certificate: tls/certificate.pem, key: tls/key.pem, require: always, profile: legacy}}
providers: {{out: {{type: capture, path: captured}}}}
spool: {{path: spool}}
"""


class DeviceTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="smtprelay-"))
        self.addCleanup(rmtree, self.folder)
        make_certificate(self.folder / "tls", old=True)
        file = self.folder / "relay.yaml"
        file.write_text(CONFIG.format(hash=f"'{hash_password(b's3cret', b'a' * 16, ln=4)}'"))
        config = file.read_text().replace("unix:local.sock", f"unix:{self.folder / 'local.sock'}")
        file.write_text(config)
        self.events = Recording()
        self.relay = Relay(load(str(file), {}).config, reactor, events=[self.events])
        self.addCleanup(self.relay.stopService)
        self.relay.startService()
        return self.relay.started

    async def open(self, listener: str) -> Conversation:
        """Return a session at ``listener`` that has said nothing."""
        talk = await Conversation.open(self.relay.addresses[listener].port)
        self.addCleanup(talk.close)
        return talk

    async def delivered(self) -> bytes:
        """Return the one mail that came out."""
        await eventually(lambda: list(self.folder.glob("captured/new/*")), "the mail")
        [file] = self.folder.glob("captured/new/*")
        return file.read_bytes()

    def plain(self, name: str, password: str) -> str:
        return "AUTH PLAIN " + b64encode(f"whoever\0{name}\0{password}".encode()).decode().rstrip("=")

    async def test_any_login(self) -> None:
        """A device logs in as whoever it says; a user of the configuration needs the right password."""
        talk = await self.open("devices")
        self.assertEqual((await talk.say("EHLO scanner"))[:3], "250")
        self.assertIn("535", await talk.say(self.plain("ann", "wrong")))
        self.assertIn("530", await talk.say("MAIL FROM:<a@example.org>"))
        self.assertIn("235", await talk.say(self.plain("scanner", "whatever")))
        self.assertIn("250 2.0.0", await talk.mail(b"Subject: x\r\n\r\nhi\r\n", "b@example.com"))
        talk = await self.open("devices")
        self.assertIn("235", await talk.say(self.plain("ann", "s3cret")))
        self.assertEqual([each["user"] for each in self.events.of("auth.ok")], ["scanner", "ann"])

    async def test_line_feeds_alone(self) -> None:
        """A script without a single CR, nor a name, is served, and its mail leaves with CRLF."""
        talk = await self.open("scripts")
        talk.write(b"HELO\nMAIL FROM:UPS <ups@example.org>\nRCPT TO:< a@example.com. >\nDATA\n")
        self.assertEqual([(await talk.reply())[:3] for _ in range(4)], ["250", "250", "250", "354"])
        talk.write(b"Subject: Alarm\n\nOn battery\n..\n.\nQUIT\n")
        self.assertEqual([(await talk.reply())[:3] for _ in range(2)], ["250", "221"])
        mail = await self.delivered()
        self.assertIn(b"Received: from unknown ([127.0.0.1])", mail)
        self.assertTrue(mail.replace(b"\r\n", b"\n").endswith(b"Subject: Alarm\n\nOn battery\n.\n"), mail)

    async def test_no_way_around_the_recipients(self) -> None:
        """Old ways to write a recipient do not lead beyond those that are allowed."""
        talk = await self.open("scripts")
        await talk.say("MAIL FROM:<a@example.com>")
        for trick in ("v%evil.test@example.com", "evil.test!v@example.com", "@evil.test:v@example.com"):
            self.assertIn("550 5.7.1", await talk.say(f"RCPT TO:<{trick}>"))
        self.assertIn("550 5.7.1", await talk.say('RCPT TO:<"v@evil.test"@example.com>'))
        self.assertIn("250", await talk.say("RCPT TO:<v@example.com>"))

    async def test_unix_socket(self) -> None:
        """A program of this machine needs no login at a Unix socket."""
        endpoint = UNIXClientEndpoint(reactor, str(self.folder / "local.sock"))
        talk = await endpoint.connect(Factory.forProtocol(Conversation))
        self.addCleanup(talk.close)
        self.assertIn("220", await talk.reply())
        self.assertIn("250 2.0.0", await talk.mail(b"Subject: x\r\n\r\nhi\r\n", "b@example.com"))
        self.assertIn(b"Received: from unknown (unix)", await self.delivered())

    async def test_old_tls(self) -> None:
        """A device that knows TLS 1.0 and RSA key exchange sends its mail, with no other hello within TLS."""
        context = ssl.create_default_context(cafile=str(self.folder / "tls" / "ca.pem"))
        context.set_ciphers("AES128-SHA:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1

        def talk() -> list[str]:
            client = Client(self.relay.addresses["old"].port, context)
            replies = [client.reply(), client.say("EHLO b\xfcro\r\n"), client.say("STARTTLS\r\n")]
            client.secure()
            replies += [
                client.say("MAIL FROM:<a@example.org>\r\n"),
                client.say("RCPT TO:<b@example.com>\r\n"),
            ]
            replies += [client.say("DATA\r\n"), client.say("Subject: x\r\n\r\nhi\r\n.\r\n")]
            client.close()
            return replies

        codes = [reply[:3] for reply in await deferToThread(talk)]
        self.assertEqual(codes, ["220", "250", "220", "250", "250", "354", "250"])
        self.assertIn(b"with ESMTPS id", await self.delivered())
        self.assertEqual([each["version"] for each in self.events.of("session.tls")], ["TLSv1"])
