"""
What another mail server makes of a mail that the relay has finished: nothing is left for it to mend.
"""

import email
import email.policy

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.testing.smtp import SmtpSink
from tests.interop.postfix import Postfix, why_not
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess
from tests.process.stage import Stage

#: What clients send, and the text that arrives.
MAILS = (
    (b"Alarm: door open\r\nRoom: 3\r\n", "Alarm: door open\r\nRoom: 3\r\n"),
    (b"Subject: x\r\nBcc: b@example.com\r\n\r\n" + b"z" * 5000 + b"\r\n", "z" * 5000 + "\r\n"),
    (f"Subject: Grüße\r\n\r\n{'Grüße ' * 500}\r\n".encode(), f"{'Grüße ' * 500}\r\n"),
    (b"From x@y Mon Jan 1\r\nno field\r\nSubject: x\r\n\r\n.hello\r\n", ".hello\r\n"),
)


class OutgoingTests(Stage, TestCase):
    async def test_postfix_hands_it_on(self) -> None:
        """Postfix adds its Received and mends nothing, neither a line nor a field."""
        sink = SmtpSink()
        port = await sink.listen(reactor)
        self.addCleanup(port.stopListening)
        self.addCleanup(sink.hang_up)
        postfix = await Postfix.start(self.folder, port.getHost().port)
        self.addCleanup(postfix.stop)
        provider = f"out: {{type: smarthost, host: 127.0.0.1, port: {postfix.port}, tls: none}}"
        relay = await self.ending(RelayProcess.of(self.folder, provider)).start()
        for number, (mail, text) in enumerate(MAILS, start=1):
            self.assertIn("250 2.0.0", await relay.send(mail, "user@example.com"))
            await eventually(lambda number=number: len(sink.messages) == number, "the mail")
            parsed = email.message_from_bytes(sink.messages[-1].body, policy=email.policy.default)
            content = parsed.get_payload(decode=True).decode(parsed.get_content_charset("ascii"))
            self.assertEqual(content, text)
            names = [name.lower() for name in parsed]
            self.assertEqual(len(names), len(set(names)) + names.count("received") - 1)
            self.assertEqual(names.count("received"), 2)
            self.assertNotIn("bcc", names)
            self.assertTrue(parsed["Message-ID"].endswith("@relay.test>"), parsed["Message-ID"])

    if why_not():
        test_postfix_hands_it_on.skip = why_not()
