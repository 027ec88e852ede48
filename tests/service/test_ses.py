"""A relay before Amazon SES, as ``etc/examples`` has it."""

import tempfile
from pathlib import Path
from shutil import rmtree

import treq
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import Site

from smtprelay.config import load
from smtprelay.service import Relay
from smtprelay.testing.ses import FakeSes, SesRefuses
from tests.process.conversation import Conversation
from tests.process.program import eventually
from tests.providers.aws_peers import environment, free_port
from tests.providers.http_wiring import Server
from tests.providers.ses_wiring import KEY, SECRET
from tests.recording import Recording

EXAMPLES = Path(__file__).parents[2] / "etc" / "examples"
MAIL = b"From: app@example.org\r\nSubject: test\r\nBcc: b@example.net\r\n\r\nHello\r\n"


class ExampleTests(SynchronousTestCase):
    def test_valid(self) -> None:
        """Each example is a configuration without an error or a warning."""
        for path in sorted(EXAMPLES.glob("*.yaml")):
            self.assertEqual(list(load(str(path), {}).warnings), [], path.name)


class SesRelayTests(TestCase):
    timeout = 60

    async def begin(self, example: str) -> None:
        """Have a relay with this example that is ready, before a fake of SES."""
        folder = Path(tempfile.mkdtemp(prefix="smtprelay-"))
        self.addCleanup(rmtree, folder)
        self.fake = FakeSes(reactor, {KEY: SECRET})
        server = Server(Site(self.fake))
        port = reactor.listenTCP(0, server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(server.close)
        here = environment(
            {
                "AWS_REGION": "eu-west-1",
                "AWS_ACCESS_KEY_ID": KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port.getHost().port}",
            }
        )
        here.__enter__()
        self.addCleanup(here.__exit__, None, None, None)
        self.smtp, *self.sites = (free_port() for _ in range(3))
        sets = [
            f"control_socket={folder}/c.sock",
            f"listeners.0.endpoint=tcp:{self.smtp}:interface=127.0.0.1",
        ]
        text = (EXAMPLES / example).read_text()
        count = text.count("serve:")
        sets += [f"http.{n}.endpoint=tcp:{self.sites[n]}:interface=127.0.0.1" for n in range(count)]
        sets += [f"spool.path={folder}/spool"] if "spool:" in text else []
        self.events = Recording()
        relay = Relay(load(str(EXAMPLES / example), {}, sets).config, reactor, events=[self.events])
        relay.startService()
        self.addCleanup(relay.stopService)
        await relay.started
        await eventually(lambda: self.events.of("provider.rate"), "the account's rate")

    async def send(self, *recipients: str) -> str:
        talk = await Conversation.open(self.smtp)
        self.addCleanup(talk.close)
        await talk.say("EHLO client.test")
        await talk.say("MAIL FROM:<app@example.org>")
        for recipient in recipients:
            await talk.say(f"RCPT TO:<{recipient}>")
        await talk.say("DATA")
        return await talk.say(MAIL.decode() + "\r\n.")

    async def get(self, site: int, path: str) -> tuple[int, str]:
        response = await treq.get(f"http://127.0.0.1:{self.sites[site]}{path}", persistent=False)
        return response.code, await response.text()

    async def test_ses_smtpd_proxy(self) -> None:
        """What ses-smtpd-proxy does: SES's answer is the client's, with metrics and a health check."""
        await self.begin("ses-smtpd-proxy.yaml")
        reply = await self.send("b@example.net", "c@example.net")
        [mail] = self.fake.mails
        self.assertEqual(reply[:3], "250")
        self.assertIn(mail.id, reply)
        self.assertEqual((mail.api, list(mail.recipients)), ("v1", ["b@example.net", "c@example.net"]))
        self.assertEqual(mail.options["ConfigurationSetName"], "tracking")
        self.assertNotIn(b"Bcc", mail.raw)
        self.fake.script(SesRefuses(429, "TooManyRequestsException", "Maximum sending rate exceeded."))
        self.assertEqual((await self.send("b@example.net"))[:3], "451")
        self.fake.script(SesRefuses(400, "MessageRejected", "virus"))
        self.assertEqual((await self.send("b@example.net"))[:1], "5")
        _, metrics = await self.get(0, "/metrics")
        self.assertIn('smtprelay_credential_renewals_total{provider="ses",result="renewed"} 1.0', metrics)
        self.assertEqual((await self.get(1, "/health"))[0], 200)

    async def test_sixty_recipients(self) -> None:
        """60 recipients are two requests, and spend 60 of the account's rate: the second one waits for it."""
        await self.begin("ses.yaml")
        reply = await self.send(*(f"r{n}@example.net" for n in range(60)))
        self.assertEqual(reply[:3], "250")
        await eventually(lambda: len(self.fake.mails) == 2, "two requests")
        self.assertEqual(sorted(len(mail.recipients) for mail in self.fake.mails), [10, 50])
        delivered = self.events.of("message.delivered")
        first, second = (mail.time for mail in self.fake.mails)
        self.assertGreater(second - first, 0.5)
        self.assertEqual({each["provider_id"] for each in delivered}, {mail.id for mail in self.fake.mails})
