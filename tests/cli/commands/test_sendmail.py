import io
import os
import sys
from pathlib import Path

from smtprelay.cli import main
from tests.cli.fakes import CommandCase, FakeRelay, Ran, queue_of
from tests.cli.smtpd import FakeServer

CONFIG = """
hostname: relay.test
control_socket: {folder}/c.sock
listeners: [{{name: lan, endpoint: "tcp:{port}:interface=127.0.0.1"{more}}}]
providers: {{local: {{type: capture, path: {folder}}}}}
spool: {{engine: memory}}
"""
MAIL = "To: Jo <jo@example.com>,\n ann@example.com\nBcc: hidden@example.com\nSubject: hi\n\nline\n.\nmore\n"


class SendmailTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(os, "environ", {**os.environ, "LOGNAME": "cron"})

    def config(self, server: FakeServer, more: str = "") -> str:
        path = Path(self.mktemp()).absolute()
        path.write_text(CONFIG.format(folder=path.parent, port=server.server_address[1], more=more))
        return str(path)

    def sendmail(self, server: FakeServer, *argv: str, mail: str = MAIL, more: str = "") -> Ran:
        stdin = io.TextIOWrapper(io.BytesIO(mail.encode()))
        return self.run_command("-c", self.config(server, more), "sendmail", *argv, stdin=stdin)

    def envelope(self, server: FakeServer) -> list[str]:
        return [line.partition(":")[2] for line in server.heard if line.lower().startswith(("mail", "rcpt"))]

    def test_php(self) -> None:
        """``-t -i`` sends to all in the header, and to those named, each once; a dot alone is text."""
        server = FakeServer(self)
        ran = self.sendmail(server, "-t", "-i", "ann@example.com", "other@example.com")
        self.assertEqual((ran.status, ran.out, ran.err), (0, "", ""))
        names = ["ann", "other", "jo", "hidden"]
        self.assertEqual(self.envelope(server)[0].split()[0], "<cron@relay.test>")
        self.assertEqual(self.envelope(server)[1:], [f"<{name}@example.com>" for name in names])
        self.assertTrue(server.mails[0].endswith(b"\r\n\r\nline\r\n.\r\nmore\r\n"))

    def test_cron(self) -> None:
        """As cron calls it: a name without a domain is somebody here, and -F names the sender."""
        server = FakeServer(self)
        ran = self.sendmail(
            server, "-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root", mail="Subject: x\n\ny\n"
        )
        self.assertEqual((ran.status, ran.err), (0, ""))
        self.assertEqual(self.envelope(server)[1:], ["<root@relay.test>"])
        self.assertEqual(server.mails, [b"From: CronDaemon <cron@relay.test>\r\nSubject: x\r\n\r\ny\r\n"])

    def test_dot(self) -> None:
        """Without -i, or -oi, a dot alone ends the mail; the first line of a mailbox file is dropped."""
        for options, end in (((), b"line\r\n"), (("-oi",), b"more\r\n")):
            server = FakeServer(self)
            self.sendmail(server, *options, "a@b.test", mail=f"From me Tue Dec  1\r\n{MAIL}")
            self.assertTrue(server.mails[0].startswith(b"To: Jo"), server.mails)
            self.assertTrue(server.mails[0].endswith(end), server.mails)

    def test_sender(self) -> None:
        """``-f`` names the envelope's sender, also the null one; reports are asked for as given."""
        for given, sender in (
            ("a@b.test", "<a@b.test>"),
            ("<>", "<>"),
            ("", "<>"),
            ("joe", "<joe@relay.test>"),
        ):
            server = FakeServer(self)
            self.sendmail(server, "-f", given, "-N", "never", "-R", "hdrs", "-V", "q7", "x@y.test")
            mail, rcpt = self.envelope(server)
            self.assertTrue(mail.startswith(f"{sender} "), mail)
            self.assertIn("RET=hdrs ENVID=q7", mail)
            self.assertEqual(rcpt, "<x@y.test> NOTIFY=never")

    def test_resent(self) -> None:
        """The recipients of a mail that was resent are those of its Resent fields."""
        server = FakeServer(self)
        self.sendmail(server, "-t", mail=f"Resent-To: new@example.com\nResent-Bcc: b@example.com\n{MAIL}")
        self.assertEqual(self.envelope(server)[1:], ["<new@example.com>", "<b@example.com>"])

    def test_status(self) -> None:
        """The exit status is one of sysexits.h, and the server's words are on stderr."""
        for replies, status in (
            ({"RCPT": "550 5.1.1 no such user"}, 67),
            ({"MAIL": "553 5.7.1 may not send"}, 77),
            ({"MAIL": "530 5.7.0 Authentication required"}, 77),
            ({"MAIL": "452 4.3.1 full"}, 75),
            ({"RCPT": "451 4.7.1 later"}, 75),
            ({"MAIL": "552 5.3.4 too large"}, 69),
        ):
            ran = self.sendmail(FakeServer(self, replies), "a@b.test")
            [(verb, text)] = replies.items()
            self.assertEqual(ran.status, status, text)
            self.assertTrue(ran.err.startswith(f"smtprelay: {verb}"), ran.err)
            self.assertIn(text, ran.err)

    def test_one_refused(self) -> None:
        """A recipient that is refused does not keep the mail from the others, and is told of."""
        server = FakeServer(self, {"RCPT TO:<no@b.test>": "550 5.1.1 no such user"})
        ran = self.sendmail(server, "no@b.test", "yes@b.test")
        self.assertEqual((ran.status, len(server.mails)), (67, 1))
        self.assertIn("no@b.test: 550 5.1.1 no such user", ran.err)

    def test_wrong_calls(self) -> None:
        """No recipients, an unknown option, a mode of a daemon; nobody listens: each has its status."""
        server = FakeServer(self)
        for argv, mail, status in (
            ((), MAIL, 65),
            (("-t",), "Subject: x\n\n", 65),
            (("-z",), MAIL, 64),
            (("-bd",), MAIL, 64),
        ):
            self.assertEqual(self.sendmail(server, *argv, mail=mail).status, status, argv)
        config = self.config(server)
        server.shutdown()
        server.server_close()
        stdin = io.TextIOWrapper(io.BytesIO(MAIL.encode()))
        ran = self.run_command("-c", config, "sendmail", "a@b.test", stdin=stdin)
        self.assertEqual(ran.status, 75)
        self.assertIn("nothing listens there", ran.err)

    def test_nothing_to_do(self) -> None:
        """``-q`` and ``-bi`` have nothing to do and say so by 0."""
        for argv in (("-q",), ("-bi",)):
            self.assertEqual(self.run_command("sendmail", *argv), Ran(0, "", ""))

    def test_links(self) -> None:
        """Called by a link of the name sendmail or mailq it is that command."""
        for name, words in (("sendmail", "--help"), ("mailq", "--help")):
            self.patch(sys, "argv", [f"/usr/sbin/{name}", words])
            out = io.TextIOWrapper(io.BytesIO(), "utf-8")
            self.patch(sys, "stdout", out)
            self.assertEqual(main(), 0)
            out.flush()
            self.assertIn(f"Usage: smtprelay {name}".encode(), out.buffer.getvalue())

    def test_messages_of_a_link(self) -> None:
        """All messages of a link begin with its name: of usage, of the configuration, of the server."""
        for words in (["-z"], [], ["a@b.test"]):
            self.patch(sys, "argv", ["/usr/sbin/sendmail", *words])
            self.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Subject: x\n\n")))
            self.patch(sys, "stderr", err := io.StringIO())
            server = FakeServer(self, {"MAIL": "553 5.7.1 may not send"})
            os.environ["SMTPRELAY_CONFIG"] = self.config(server)
            self.assertNotEqual(main(), 0)
            self.assertTrue(err.getvalue().startswith("sendmail: "), err.getvalue())

    def test_mailq(self) -> None:
        """``mailq -v`` is what other mail servers know; it lists the same."""
        relay = FakeRelay(self, {"GET /api/v1/queue": (200, queue_of())})
        plain, verbose = (
            self.run_command("mailq", *words, "--endpoint", relay.endpoint) for words in ((), ("-v",))
        )
        self.assertEqual((verbose, verbose.status), (plain, 0))
