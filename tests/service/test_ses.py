"""A relay before Amazon SES, as ``etc/examples`` has it."""

import subprocess
import sys

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smtprelay.config import load
from smtprelay.testing.ses import FakeSes, SesRefuses
from tests.process.program import eventually
from tests.providers.ses_wiring import KEY, SECRET
from tests.service.ses_relay import EXAMPLES, SesRelayCase, Silence


class ExampleTests(SynchronousTestCase):
    def test_valid(self) -> None:
        """Each example is a configuration without an error or a warning."""
        keys = {"MAILGUN_API_KEY": "key", "RESEND_API_KEY": "re_key", "AWS_REGION": "eu-west-1"}
        keys |= {"VAULT_ADDR": "https://vault.example.com", "VAULT_TOKEN": "t"}
        keys |= {"SMTP_PASSWORD": "p", "ACS_KEY": "a2V5", "ACS_SENDER_ADDRESS": "d@mail.example.com"}
        keys["ENTRA_CLIENT_SECRET"] = "s"
        keys["ACS_CONNECTION_STRING"] = "endpoint=https://x.example;accesskey=a2V5"
        keys |= {"GRAPH_CLIENT_ID": "c", "GRAPH_CLIENT_SECRET": "s"}
        # The other one names files; its own tests bring them.
        for path in sorted({*EXAMPLES.glob("*.yaml")} - {EXAMPLES / "smtp-oauth-relay.yaml"}):
            self.assertEqual(list(load(str(path), keys).warnings), [], path.name)


class SesRelayTests(SesRelayCase, TestCase):
    async def begin(self, example: str) -> None:
        """Have a relay with this example that is ready, before a fake of SES."""
        self.fake = FakeSes(reactor, {KEY: SECRET})
        keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "eu-west-1"}
        await self.start(EXAMPLES / example, {**keys, "AWS_ENDPOINT_URL": self.serve(self.fake)})
        await eventually(lambda: self.events.of("provider.rate"), "the account's rate")

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

    async def test_a_sender_that_is_not_verified(self) -> None:
        """Its mail waits in a lane that ``status`` names; other mail flows, and a probe sends it at last."""
        await self.begin("ses.yaml")
        self.fake.identities = {"good.example": {}}
        for sender in ("a@bad.example", "b@bad.example", "c@good.example"):
            self.assertEqual((await self.send("b@example.net", sender=sender))[:3], "250")
        await eventually(lambda: self.events.of("message.delivered"), "the good one's mail")
        self.assertEqual([mail.sender for mail in self.fake.mails], ["c@good.example"])
        [blocked] = self.events.of("lane.blocked")
        self.assertEqual(blocked["lane"], "setup:bad.example")
        told = await deferToThread(self.command, "status")
        self.assertIn("setup:bad.example", told)
        self.assertIn("Email address is not verified", told)
        self.fake.identities["bad.example"] = {}
        await deferToThread(self.command, "providers", "probe", "ses", "setup:bad.example")
        await eventually(lambda: len(self.events.of("message.delivered")) == 3, "the mail that waited")

    def command(self, *words: str) -> str:
        """Return what a command prints."""
        words = ("smtprelay", *words, "--endpoint", f"{self.folder}/c.sock")
        program = (sys.executable, "-m", *words)
        return subprocess.run(program, check=True, capture_output=True, text=True).stdout

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
