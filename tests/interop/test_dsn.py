"""
Wishes for reports (RFC 3461) between a client, the relay and another mail server that knows them.
"""

import email
import email.policy

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.testing.smtp import KEYWORDS, SmtpSink
from tests.interop.postfix import Postfix, why_not
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess
from tests.process.stage import Stage


class DsnTests(Stage, TestCase):
    async def test_postfix_takes_over(self) -> None:
        """Postfix as the smarthost gets the wishes, and reports the success with the sender's own names."""
        # Behind Postfix is a server without DSN, so that it is Postfix that reports.
        sink = SmtpSink(keywords=tuple(each for each in KEYWORDS if each != "DSN"))
        port = await sink.listen(reactor)
        self.addCleanup(port.stopListening)
        self.addCleanup(sink.hang_up)
        postfix = await Postfix.start(self.folder, port.getHost().port)
        self.addCleanup(postfix.stop)
        provider = f"out: {{type: smarthost, host: 127.0.0.1, port: {postfix.port}, tls: none}}"
        relay = await self.ending(RelayProcess.of(self.folder, provider)).start()
        talk = await relay.greet()
        for command in (
            "MAIL FROM:<app@example.org> RET=HDRS ENVID=QQ+2B1",
            "RCPT TO:<anna@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb@example.com",
            "RCPT TO:<ben@example.com> NOTIFY=NEVER",
            "DATA",
        ):
            self.assertIn((await talk.say(command))[:1], "23")
        self.assertIn("250 2.0.0", await talk.say("Subject: Hi\r\n\r\nhello\r\n."))
        await talk.close()
        await eventually(lambda: len(sink.messages) == 2, "the mail, and the report of Postfix")
        mail, told = sorted(sink.messages, key=lambda one: one.sender == "")
        self.assertEqual(set(mail.recipients), {"anna@example.com", "ben@example.com"})
        self.assertEqual((told.sender, told.recipients), ("", ("app@example.org",)))
        report = email.message_from_bytes(told.body, policy=email.policy.default)
        groups = list(report.iter_parts())[1].get_payload()
        whole, anna = (dict(group.items()) for group in groups if group.keys())
        self.assertEqual(whole["Original-Envelope-Id"], "QQ+1")
        self.assertEqual(anna["Original-Recipient"], "rfc822;a+b@example.com")
        self.assertEqual(anna["Action"], "relayed")
        waiting = (await relay.cli("queue", "list", "--state", "delivered"))["deliveries"]
        self.assertEqual([line["sender"] for line in waiting], ["app@example.org"])

    if why_not():
        test_postfix_takes_over.skip = why_not()
