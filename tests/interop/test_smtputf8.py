"""
International mail (RFC 6531) that another mail server hands to the relay, and the relay to another one.
"""

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.testing.smtp import SmtpSink
from tests.interop.postfix import Postfix, why_not
from tests.process.conversation import Conversation
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess
from tests.process.stage import Stage

MAIL = "From: Jürg <jürg@example.org>\r\nTo: 用户@例え.example\r\nSubject: Grüße\r\n\r\nHallo Jürg"


class InternationalMailTests(Stage, TestCase):
    async def test_through_postfix(self) -> None:
        """Postfix, which bounces such mail where SMTPUTF8 is not offered, hands it to the relay."""
        sink = SmtpSink()
        port = await sink.listen(reactor)
        self.addCleanup(port.stopListening)
        self.addCleanup(sink.hang_up)
        provider = f"out: {{type: smarthost, host: 127.0.0.1, port: {port.getHost().port}, tls: none}}"
        relay = await self.ending(RelayProcess.of(self.folder, provider)).start()
        postfix = await Postfix.start(self.folder, relay.smtp, "smtputf8_enable = yes\n")
        self.addCleanup(postfix.stop)
        talk = await Conversation.open(postfix.port)
        for command in (
            "EHLO client.test",
            "MAIL FROM:<jürg@example.org> SMTPUTF8 BODY=8BITMIME",
            "RCPT TO:<用户@例え.example>",
            "DATA",
        ):
            self.assertIn((await talk.say(command))[:1], "23", command)
        self.assertIn("250 2.0.0", await talk.say(f"{MAIL}\r\n."))
        await talk.close()
        await eventually(lambda: sink.messages, "the mail")
        [mail] = sink.messages
        self.assertEqual((mail.sender, mail.recipients), ("jürg@example.org", ("用户@xn--r8jz45g.example",)))
        self.assertIn("Subject: Grüße\r\n".encode(), mail.body)
        self.assertTrue(mail.body.endswith("\r\n\r\nHallo Jürg\r\n".encode()))
        self.assertIn(b"(smtprelay) with UTF8SMTP id", mail.body)

    if why_not():
        test_through_postfix.skip = why_not()
