"""
What another mail server gets of the mail of scripts and devices, from a real relay with its MIME worker.
"""

import email
import email.policy
from collections.abc import Sequence
from email.message import EmailMessage

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.testing.smtp import KEYWORDS, SmtpSink
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess
from tests.process.stage import Stage

SEVEN_BIT = tuple(keyword for keyword in KEYWORDS if keyword not in ("8BITMIME", "SMTPUTF8"))


class OutgoingTests(Stage, TestCase):
    async def begin(self, keywords: Sequence[str]) -> tuple[RelayProcess, SmtpSink]:
        """Return a relay, and the smarthost that it sends to."""
        sink = SmtpSink(keywords=keywords)
        port = await sink.listen(reactor)
        self.addCleanup(port.stopListening)
        self.addCleanup(sink.hang_up)
        provider = f"out: {{type: smarthost, host: 127.0.0.1, port: {port.getHost().port}, tls: none}}"
        return await self.ending(RelayProcess.of(self.folder, provider)).start(), sink

    async def sent(self, relay: RelayProcess, sink: SmtpSink, mail: bytes) -> EmailMessage:
        """Send a mail, and return it as it arrives."""
        before = len(sink.messages)
        reply = await relay.send(mail, "user@example.com")
        self.assertIn("250 2.0.0", reply)
        await eventually(lambda: len(sink.messages) > before, "the mail")
        came = sink.messages[-1].body
        self.assertLessEqual(max(map(len, came.split(b"\r\n"))), 998)
        parsed = email.message_from_bytes(came, policy=email.policy.default)
        self.assertEqual((len(parsed.get_all("Message-ID")), len(parsed.get_all("Date"))), (1, 1))
        return parsed

    async def test_seven_bit_server(self) -> None:
        """A server without 8BITMIME gets ASCII, of a short mail and of one that the worker process plans."""
        relay, sink = await self.begin(SEVEN_BIT)
        for lines in (1, 20_000):
            text = "Die Grüße kommen heute an.\r\n" * lines
            parsed = await self.sent(
                relay, sink, f"Subject: Grüße\r\nBcc: b@example.com\r\n\r\n{text}".encode()
            )
            self.assertTrue(sink.messages[-1].body.isascii())
            self.assertEqual((parsed["Subject"], parsed["Bcc"]), ("Grüße", None))
            self.assertEqual(parsed["From"], "app@example.org")
            self.assertEqual(parsed.get_payload(decode=True).decode(), text)
            self.assertIn(f"SIZE={len(sink.messages[-1].body)}", sink.messages[-1].mail)

    async def test_long_lines(self) -> None:
        """Lines of any length arrive, in lines that every server takes."""
        relay, sink = await self.begin(KEYWORDS)
        for text in ("z" * 5000, "Grüße " * 60_000):
            parsed = await self.sent(relay, sink, f"Subject: x\r\n\r\n{text}\r\n".encode())
            self.assertEqual(parsed.get_payload(decode=True).decode(), f"{text}\r\n")

    async def test_mail_without_a_header(self) -> None:
        """What a device sends without any header arrives as text."""
        relay, sink = await self.begin(KEYWORDS)
        parsed = await self.sent(relay, sink, b"Alarm: door open\r\nRoom: 3\r\n")
        self.assertEqual(parsed.get_payload(), "Alarm: door open\r\nRoom: 3\r\n")
        self.assertEqual(parsed["From"], "app@example.org")
