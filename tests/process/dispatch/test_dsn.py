"""
What senders are told of their mail: a real client asks, the real relay answers through other servers.
"""

import email
import email.policy
import smtplib
from collections.abc import Sequence
from email.message import EmailMessage
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.testing.smtp import KEYWORDS, SmtpSink
from smtprelay.testing.smtp_script import ReceivedMessage
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess, message
from tests.process.stage import Stage

CONFIG = """\
hostname: relay.test
listeners: [{{name: lan, endpoint: "tcp:0:interface=127.0.0.1"}}]
http: [{{endpoint: "tcp:port=0:interface=127.0.0.1", serve: [health, metrics]}}]
spool: {{path: spool}}
providers:
{providers}
routes: [{{name: all, via: [out], retry: {{first: 300ms, max: 300ms, jitter: 0}}}}]
bounces: {{from: MAILER-DAEMON@relay.test, {bounces}}}
"""

PLAIN = tuple(keyword for keyword in KEYWORDS if keyword != "DSN")


class DsnTests(Stage, TestCase):
    async def sink(self, keywords: Sequence[str] = PLAIN) -> tuple[SmtpSink, int]:
        """Return a mail server and its port."""
        sink = SmtpSink(keywords=keywords)
        port = await sink.listen(reactor)
        self.addCleanup(port.stopListening)
        self.addCleanup(sink.hang_up)
        return sink, port.getHost().port

    async def relay(self, bounces: str = "via: [back]", **ports: int) -> RelayProcess:
        """Return a relay with a smarthost at each of ``ports``; it sends to ``out``."""
        host = "  {}: {{type: smarthost, host: 127.0.0.1, port: {}, tls: none}}"
        providers = "\n".join(host.format(name, port) for name, port in ports.items())
        relay = RelayProcess(self.folder, CONFIG.format(providers=providers, bounces=bounces))
        return await self.ending(relay).start()

    def send(
        self, relay: RelayProcess, *recipients: str, mail: Sequence[str] = (), rcpt: Sequence[str] = ()
    ) -> Any:
        """Send a mail to ``recipients`` with these parameters, by the client of the standard library."""

        def session() -> None:
            with smtplib.SMTP("127.0.0.1", relay.smtp, "client.test") as client:
                client.ehlo()
                assert client.has_extn("dsn")
                refused = client.sendmail(
                    "app@example.org", recipients, message("Hi", text="secret"), list(mail), list(rcpt)
                )
                assert not refused, refused

        return deferToThread(session)

    async def report(self, sink: SmtpSink, number: int = 1) -> tuple[ReceivedMessage, EmailMessage]:
        """Wait for the report; return it as it came, and as a mail program reads it."""
        await eventually(lambda: len(sink.messages) >= number, "a report")
        came = sink.messages[number - 1]
        self.assertEqual((came.sender, came.recipients), ("", ("app@example.org",)))
        return came, email.message_from_bytes(came.body, policy=email.policy.default)

    def fields(self, report: EmailMessage) -> list[dict[str, str]]:
        """Return the groups of fields for programs."""
        status = list(report.iter_parts())[1]
        groups = [dict(group.items()) for group in status.get_payload()]
        return [group for group in groups if group]

    async def test_success_and_failure_in_one(self) -> None:
        """Who asked hears of both in one report, with his own names for mail and people, and all of it."""
        out, port = await self.sink()
        back, other = await self.sink()
        out.script("RCPT", "250 ok", "550 5.1.1 nobody of that name")
        relay = await self.relay(out=port, back=other)
        await self.send(
            relay,
            "anna@example.com",
            "ben@example.com",
            mail=["RET=FULL", "ENVID=QQ+2B1"],
            rcpt=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;staff+2Ball@example.com"],
        )
        _, report = await self.report(back)
        whole, anna, ben = self.fields(report)
        self.assertEqual(whole["Original-Envelope-Id"], "QQ+1")
        self.assertEqual((anna["Action"], anna["Status"]), ("relayed", "2.0.0"))
        self.assertEqual((ben["Action"], ben["Status"]), ("failed", "5.1.1"))
        self.assertEqual(ben["Final-Recipient"], "rfc822; ben@example.com")
        self.assertEqual(ben["Original-Recipient"], "rfc822; staff+all@example.com")
        self.assertEqual(ben["Diagnostic-Code"], "smtp; 550 5.1.1 nobody of that name")
        self.assertEqual(ben["Remote-MTA"], "dns; 127.0.0.1")
        original = list(report.iter_parts())[2]
        self.assertEqual(original.get_content_type(), "message/rfc822")
        self.assertIn("secret", original.get_content().get_content())
        self.assertEqual(out.messages[0].rcpts, ("RCPT TO:<anna@example.com>",))

    async def test_a_server_that_reports_itself(self) -> None:
        """It is told what the sender asked for, word by word; the relay then says nothing."""
        out, port = await self.sink(KEYWORDS)
        relay = await self.relay("via: [out]", out=port)
        await self.send(
            relay,
            "anna@example.com",
            mail=["RET=HDRS", "ENVID=1"],
            rcpt=["NOTIFY=SUCCESS", "ORCPT=rfc822;a@x"],
        )
        await eventually(lambda: self.nothing_waits(relay), "an empty queue")
        [came] = out.messages
        self.assertIn(" RET=HDRS ENVID=1", came.mail)
        self.assertEqual(came.rcpts, ("RCPT TO:<anna@example.com> NOTIFY=SUCCESS ORCPT=rfc822;a@x",))

    async def test_never(self) -> None:
        """A mail that fails, of whose failure nobody wants to hear: it is there to see, and that is all."""
        out, port = await self.sink()
        out.always("RCPT", "550 5.1.1 no")
        relay = await self.relay("via: [out]", out=port)
        await self.send(relay, "anna@example.com", rcpt=["NOTIFY=NEVER"])
        failed = await eventually(lambda: self.failed(relay, 1), "one that failed")
        self.assertEqual([each["sender"] for each in failed], ["app@example.org"])
        self.assertEqual(out.messages, [])

    async def test_a_delay_is_told_once(self) -> None:
        """By the other way out, while the mail itself goes on being tried."""
        out, port = await self.sink()
        back, other = await self.sink()
        out.always("RCPT", "451 4.2.1 not now")
        relay = await self.relay("via: [back], delay_notice: 1s", out=port, back=other)
        await self.send(relay, "anna@example.com")
        _, report = await self.report(back)
        self.assertEqual(report["Subject"], "Delayed Mail (still being retried)")
        _, anna = self.fields(report)
        self.assertEqual((anna["Action"], anna["Status"]), ("delayed", "4.2.1"))
        self.assertIn("Will-Retry-Until", anna)
        self.assertEqual(await relay.metric('smtprelay_dsn_sent_total{kind="delay"}'), 1)
        out.always("RCPT", None)
        await eventually(lambda: self.nothing_waits(relay), "an empty queue")
        self.assertEqual((len(out.messages), len(back.messages)), (1, 1))

    async def test_bounces_take_the_next_way(self) -> None:
        """When the first server for bounces does not want us at all, the second one gets them."""
        out, port = await self.sink()
        closed, first = await self.sink()
        back, second = await self.sink()
        out.always("RCPT", "550 5.1.1 no")
        closed.always("CONNECT", "554 go away")
        relay = await self.relay("via: [closed, back]", out=port, closed=first, back=second)
        await self.send(relay, "anna@example.com")
        _, report = await self.report(back)
        self.assertEqual(report["Subject"], "Undelivered Mail Returned to Sender")
        self.assertNotIn(b"secret", back.messages[0].body)

    async def test_a_server_that_refuses_everything(self) -> None:
        """The mail fails, its bounce fails, both are there to see, and nothing else was ever sent."""
        out, port = await self.sink()
        out.always("RCPT", "550 5.7.1 nothing from you")
        relay = await self.relay("via: [out], to: MAILER-DAEMON@relay.test, delay_notice: 1s", out=port)
        await self.send(relay, "anna@example.com", rcpt=["NOTIFY=SUCCESS,FAILURE,DELAY"])
        failed = await eventually(lambda: self.failed(relay, 2), "two that failed")
        self.assertEqual({each["sender"] for each in failed}, {"app@example.org", ""})
        self.assertEqual(await relay.queued(), [])
        self.assertEqual(len([line for line in out.lines if line.startswith("RCPT")]), 2)

    async def nothing_waits(self, relay: RelayProcess) -> bool:
        return not await relay.queued()

    async def failed(self, relay: RelayProcess, count: int) -> Any:
        """Return what has failed, if that is ``count``."""
        listed = await relay.ask("queue?state=failed")
        return listed["deliveries"] if len(listed["deliveries"]) == count else None
