"""
The relays that this one replaces: their documented scenarios, through the examples that do what they did.

``docs/migrating.rst`` has their variables, flags and keys.
"""

import base64
import re
from collections.abc import Mapping
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smtprelay.testing.acs import Answers, EndedOperation, FakeAcs
from smtprelay.testing.certificates import make_certificate
from smtprelay.testing.smtp import SmtpSink
from tests.process.conversation import Conversation
from tests.process.program import eventually
from tests.service.ses_relay import EXAMPLES, SesRelayCase

KEY = base64.b64encode(b"k" * 32).decode()
SENDER = "DoNotReply@yourdomain.com"
MIGRATING = Path(__file__).parents[2] / "docs" / "migrating.rst"

#: By example: what it replaces takes these, by its documents and its code.
REPLACED: Mapping[str, str] = {
    "smtp-acs-bridge.yaml": """
        ACS_CONNECTION_STRING ACS_SENDER_ADDRESS LISTEN_ADDR HEALTH_LISTEN_ADDR MAX_EMAIL_SIZE
        ACS_ALLOWED_SENDER_DOMAINS RUST_LOG
    """,
    "azure_smtp_relay.yaml": """
        address port from_address domains subnets log_level max_queue_length enable_send_log retain_log_days
        send_queue_max_age send_timeout message_retry message_retry_delay server_restart_per_hour
        server_restart_email endpoint key tenant_id client_id client_secret config print_version
    """,
    "smtprelayqueue.yaml": """
        incoming.host incoming.port incoming.tls.enabled incoming.tls.cert_file incoming.tls.key_file
        incoming.auth.enabled incoming.auth.username incoming.auth.password incoming.auth.method
        incoming.max_connections incoming.connection_timeout incoming.idle_timeout
        outgoing.host outgoing.port outgoing.tls.enabled outgoing.tls.mode outgoing.tls.skip_verify
        outgoing.tls.cert_file outgoing.tls.key_file
        outgoing.auth.enabled outgoing.auth.username outgoing.auth.password outgoing.auth.method
        storage.type storage.file.path storage.file.max_size storage.memory.max_messages
        logging.level logging.format logging.file
        rate_limit.enabled rate_limit.requests_per_minute rate_limit.burst
        retry.enabled retry.max_attempts retry.initial_delay retry.max_delay retry.backoff_multiplier
        retry.retry_queue_size retry.cleanup_failed_after retry.max_retry_history retry.retry_forever
    """,
    "smtp-oauth-relay.yaml": """
        LOG_LEVEL TLS_SOURCE REQUIRE_TLS SERVER_GREETING TLS_CERT_FILEPATH TLS_KEY_FILEPATH
        TLS_CIPHER_SUITE USERNAME_DELIMITER AZURE_KEY_VAULT_URL AZURE_KEY_VAULT_CERT_NAME
        AZURE_TABLES_URL AZURE_TABLES_PARTITION_KEY AZURE_TABLES_FORCE_USAGE AZURE_TENANT_ID
        AZURE_CLIENT_ID AZURE_CLIENT_SECRET GRAPH_HTTP_TIMEOUT HTTP_TIMEOUT_SECONDS
        GRAPH_MAILBOX_CONCURRENCY GRAPH_RATE_LIMIT_PER_10_SECONDS GRAPH_LIMITER_TTL_SECONDS
        GRAPH_FAILBACK_ON_404 FROM_REMAP_DOMAINS FROM_REMAP_ADDRESSES TO_REMAP_DOMAINS
        TO_REMAP_ADDRESSES DOMAIN_SETTINGS_TABLES_PARTITION_KEY <DOMAIN>_FROM_FAILBACK
        <DOMAIN>_TO_FAILBACK <DOMAIN>_FAILURE_NOTIFICATION DKIM_ENABLED DKIM_SELECTOR DKIM_PRIVATE_KEY
        DKIM_PRIVATE_KEY_PATH DKIM_CANONICALIZATION DKIM_HEADERS DKIM_TABLES_PARTITION_KEY
    """,
}


class MigratingTests(SynchronousTestCase):
    def test_tables(self) -> None:
        """The table for each of them has all that it takes."""
        sections = MIGRATING.read_text().split("\n---")
        for example, names in REPLACED.items():
            [section] = [each for each in sections if f"etc/examples/{example}" in each]
            told = set(re.findall(r"``([^`\s]+)``", section))
            self.assertEqual(set(names.split()) - told, set(), example)


class ReplacedRelayTests(SesRelayCase, TestCase):
    async def talk(self, *commands: str) -> tuple[Conversation, str]:
        """Have the conversation that a document shows; return it with its last reply."""
        talk = await Conversation.open(self.smtp)
        self.addCleanup(talk.close)
        for command in commands:
            reply = await talk.say(command)
        return talk, reply

    # --- smtp-acs-bridge

    async def begin_bridge(self) -> None:
        self.fake = FakeAcs(reactor, [KEY])
        string = f"endpoint={self.serve(self.fake)}/;accesskey={KEY}"
        await self.start(
            EXAMPLES / "smtp-acs-bridge.yaml", {"ACS_CONNECTION_STRING": string, "ACS_SENDER_ADDRESS": SENDER}
        )

    async def test_smtp_acs_bridge(self) -> None:
        """A program logs in with anything and sends; the request is the same, the reply has the mail's id."""
        await self.begin_bridge()
        login = base64.b64encode(b"\0any\0thing").decode()
        talk, reply = await self.talk("EHLO app", f"AUTH PLAIN {login}")
        self.assertEqual(reply[:3], "235")
        self.assertEqual((await talk.say("MAIL FROM:<app@internal.example> SIZE=100"))[:3], "250")
        for recipient in ("a@example.net", "b@example.net"):
            self.assertEqual((await talk.say(f"RCPT TO:<{recipient}>"))[:3], "250")
        await talk.say("DATA")
        mail = "To: a@example.net, b@example.net\r\nFrom: app@internal.example\r\nSubject: Alarm\r\n\r\nDoor"
        self.assertIn("250 2.0.0 Ok", await talk.say(f"{mail}\r\n."))
        [sent] = self.fake.mails
        self.assertEqual(sent.request["senderAddress"], SENDER)
        self.assertEqual(sent.request["content"], {"subject": "Alarm", "plainText": "Door\r\n"})
        self.assertEqual(
            sent.request["recipients"], {"to": [{"address": "a@example.net"}, {"address": "b@example.net"}]}
        )
        self.assertEqual(sent.request["replyTo"], [{"address": "app@internal.example"}], "which it left out")
        self.assertEqual(sent.polls, 0)

    async def test_replies_of_smtp_acs_bridge(self) -> None:
        """It answers all with 451; here it is the client's to try again only if that can help."""
        await self.begin_bridge()
        self.fake.script(
            Answers(429, "TooManyRequests"), Answers(400, "BadRequest", "no"), Answers(403, "Forbidden")
        )
        replies = [(await self.send("a@example.net"))[:3] for _ in range(3)]
        self.assertEqual((replies[0], replies[1][0], replies[2]), ("451", "5", "451"))
        self.assertEqual((await self.get(0, "/health"))[0], 200)
        self.assertIn("smtprelay_", (await self.get(0, "/metrics"))[1])

    # --- azure_smtp_relay

    async def begin_azure(self) -> None:
        self.fake = FakeAcs(reactor, [KEY], steps=())
        await self.start(
            EXAMPLES / "azure_smtp_relay.yaml",
            {"ACS_KEY": KEY},
            f"providers.acs.endpoint={self.serve(self.fake)}",
            "listeners.0.allow_from.3=127.0.0.0/8",
            "routes.0.retry.first=100ms",
            "routes.0.retry.max=100ms",
            "providers.acs.engagement_tracking=false",
        )

    async def test_azure_smtp_relay(self) -> None:
        """Mail to its domains leaves from its address, with the author in Reply-To; no other mail does."""
        await self.begin_azure()
        talk, _ = await self.talk("EHLO nas", "MAIL FROM:<nas@home.example>")
        self.assertEqual((await talk.say("RCPT TO:<it@yourdomain.com>"))[:3], "250")
        self.assertEqual((await talk.say("RCPT TO:<evil@outside.example>"))[:3], "550")
        await talk.say("DATA")
        header = "From: NAS <nas@home.example>\r\nTo: it@yourdomain.com, x@outside.example\r\n"
        mail = f"{header}Cc: evil@outside.example\r\nSubject: Re: disk\r\n\r\nDisk 3 failed"
        self.assertEqual((await talk.say(f"{mail}\r\n."))[:3], "250")
        await eventually(lambda: self.events.of("message.delivered"), "the mail")
        [sent] = self.fake.mails
        self.assertEqual(sent.request["senderAddress"], SENDER)
        self.assertEqual(sent.request["replyTo"], [{"address": "nas@home.example", "displayName": "NAS"}])
        self.assertEqual(sent.request["content"], {"subject": "Re: disk", "plainText": "Disk 3 failed\r\n"})
        self.assertEqual(sent.request["recipients"], {"to": [{"address": "it@yourdomain.com"}]})
        self.assertEqual(sent.polls, 1, "it waits for the outcome")
        self.assertIs(
            sent.request["userEngagementTrackingDisabled"], True, "the setting is beside the example's"
        )

    async def test_retries_of_azure_smtp_relay(self) -> None:
        """What the service cannot take now is tried again; what it never takes is given up, and told."""
        await self.begin_azure()
        self.fake.script(Answers(500, "InternalServerError"), EndedOperation("Failed", steps=()))
        for _ in range(2):
            talk, _ = await self.talk("EHLO nas")
            reply = await talk.mail(b"Subject: x\r\n\r\nx\r\n", "it@yourdomain.com")
            self.assertEqual(reply[:3], "250")
        await eventually(lambda: self.events.of("message.delivered"), "the mail")
        await eventually(lambda: self.events.of("message.failed"), "the other one")
        self.assertEqual(len(self.fake.mails), 1)

    # --- SMTPRelay

    async def begin_queue(self) -> None:
        certificate = make_certificate(self.folder / "tls")
        users = {"your-email@gmail.com": "p"}
        self.sink = SmtpSink(certificate=certificate, users=users, required=True, clock=reactor)
        port = await self.sink.listen(reactor)
        self.addCleanup(port.stopListening)
        await self.start(
            EXAMPLES / "smtprelayqueue.yaml",
            {"SMTP_PASSWORD": "p"},
            "providers.outgoing.host=localhost",
            f"providers.outgoing.port={port.getHost().port}",
            f"providers.outgoing.ca={certificate.ca}",
            "routes.0.retry.first=100ms",
        )

    async def test_smtprelayqueue(self) -> None:
        """The conversation of its document: 250 at once, and the mail goes on as it came, by STARTTLS."""
        await self.begin_queue()
        self.sink.script("RCPT", "451 4.3.0 later")
        commands = (
            "EHLO localhost",
            "MAIL FROM:<sender@example.com>",
            "RCPT TO:<recipient@example.com>",
            "DATA",
        )
        talk, reply = await self.talk(*commands)
        self.assertEqual(reply[:3], "354")
        header = "Subject: Test Email\r\nFrom: sender@example.com\r\nTo: recipient@example.com\r\n"
        content = f"{header}\r\nThis is a test email."
        self.assertIn("queued as", await talk.say(f"{content}\r\n."))
        self.assertEqual((await talk.say("QUIT"))[:3], "221")
        await eventually(lambda: self.sink.messages, "the mail, at the second attempt")
        [message] = self.sink.messages
        self.assertEqual(
            (message.sender, list(message.recipients)), ("sender@example.com", ["recipient@example.com"])
        )
        self.assertIn(b"Subject: Test Email\r\nFrom: sender@example.com\r\n", message.body)
        self.assertTrue(message.body.endswith(b"\r\n\r\nThis is a test email.\r\n"))
        self.assertIn("STARTTLS", self.sink.lines)

    async def test_failures_of_smtprelayqueue(self) -> None:
        """A refusal for good is no attempt more: the mail is held, with the words of the server."""
        await self.begin_queue()
        self.sink.script("RCPT", "550 5.1.1 nobody")
        talk, _ = await self.talk("EHLO localhost")
        self.assertEqual((await talk.mail(b"Subject: x\r\n\r\nx\r\n", "a@example.com"))[:3], "250")
        [held] = await eventually(lambda: self.events.of("message.held"), "the mail that failed")
        self.assertIn("550 5.1.1 nobody", held["reason"])
        self.assertEqual(self.sink.messages, [])
