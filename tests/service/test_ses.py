"""A relay before Amazon SES, as ``etc/examples`` has it."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree

import treq
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

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
        keys = {"MAILGUN_API_KEY": "key", "RESEND_API_KEY": "re_key"}
        for path in sorted(EXAMPLES.glob("*.yaml")):
            self.assertEqual(list(load(str(path), keys).warnings), [], path.name)


class SesRelayTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="smtprelay-"))
        self.addCleanup(rmtree, self.folder)

    def serve(self, resource: Resource) -> str:
        """Serve ``resource`` until the test ends; return its URL."""
        server = Server(Site(resource))
        port = reactor.listenTCP(0, server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(server.close)
        return f"http://127.0.0.1:{port.getHost().port}"

    async def begin(self, example: str) -> None:
        """Have a relay with this example that is ready, before a fake of SES."""
        self.fake = FakeSes(reactor, {KEY: SECRET})
        keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "eu-west-1"}
        await self.start(EXAMPLES / example, {**keys, "AWS_ENDPOINT_URL": self.serve(self.fake)})
        await eventually(lambda: self.events.of("provider.rate"), "the account's rate")

    async def start(self, path: Path, variables: Mapping[str, str]) -> None:
        """Have a relay with a configuration, its places replaced, and these variables."""
        here = environment(variables)
        here.__enter__()
        self.addCleanup(here.__exit__, None, None, None)
        self.smtp, *self.sites = (free_port() for _ in range(3))
        sets = [
            f"control_socket={self.folder}/c.sock",
            f"listeners.0.endpoint=tcp:{self.smtp}:interface=127.0.0.1",
        ]
        text = path.read_text()
        sites = enumerate(self.sites[: text.count("serve:")])
        sets += [f"http.{n}.endpoint=tcp:{port}:interface=127.0.0.1" for n, port in sites]
        if "spool:" in text:
            sets.append(f"spool.path={self.folder}/spool")
        self.events = Recording()
        self.relay = Relay(load(str(path), {}, sets).config, reactor, events=[self.events])
        self.relay.startService()
        self.addCleanup(lambda: self.relay.stopService() if self.relay.running else None)
        await self.relay.started

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
        await eventually(lambda: len(self.events.of("message.delivered")) == 2, "two deliveries")
        self.assertEqual(sorted(len(mail.recipients) for mail in self.fake.mails), [10, 50])
        delivered = self.events.of("message.delivered")
        first, second = (mail.time for mail in self.fake.mails)
        self.assertGreater(second - first, 0.5)
        self.assertEqual({each["provider_id"] for each in delivered}, {mail.id for mail in self.fake.mails})

    async def test_credentials_that_hang(self) -> None:
        """While they are obtained, without an end, replies, other providers and the stop wait for nothing."""
        path = self.folder / "relay.yaml"
        path.write_text(HANGING)
        silence = Silence()
        address = self.serve(silence)
        await self.start(path, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": address})
        for recipient in ("a@example.net", "b@other.example"):
            self.assertEqual((await self.send(recipient))[:3], "250")
        await eventually(lambda: self.events.of("message.delivered"), "the other provider's mail")
        self.assertTrue(silence.asked)
        self.assertEqual(self.events.of("credential.failed"), [])
        began = reactor.seconds()
        await self.relay.stopService()
        self.assertLess(reactor.seconds() - began, 1.5)
        silence.end()


HANGING = """\
listeners: [{name: lan, endpoint: "tcp:2525:interface=127.0.0.1"}]
providers: {ses: {type: ses, region: eu-west-1, timeout: 1s}, local: {type: capture, path: captured}}
routes: [{match: {recipient: ["*@other.example"]}, via: [local]}, {via: [ses]}]
spool: {path: spool}
"""


class Silence(Resource):
    """Takes requests and answers none."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Request] = []

    def render(self, request: Request) -> int:
        request.notifyFinish().addErrback(lambda _: None)
        self.asked.append(request)
        return NOT_DONE_YET

    def end(self) -> None:
        for request in self.asked:
            request.loseConnection()
