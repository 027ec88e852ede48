import io
import os
import socket
from email import message_from_bytes
from email.policy import default
from pathlib import Path

from smtprelay.cli import locate
from tests.cli.fakes import CommandCase, Ran
from tests.cli.smtpd import FakeServer


class SendTests(CommandCase):
    def send(self, server: FakeServer, *argv: str) -> Ran:
        return self.run_command("send", "--server", server.address, "--to", "anna@example.com", *argv)

    def file(self, content: str | bytes) -> str:
        path = Path(self.mktemp())
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def marks(self, ran: Ran) -> list[tuple[str, str]]:
        """Return mark and name of each step."""
        return [(line.split()[0], line.split()[1]) for line in ran.out.splitlines() if line[0] == " "]

    def test_steps(self) -> None:
        """Each step is a line with its mark, and the last reply holds the queue id."""
        server = FakeServer(self)
        ran = self.send(server)
        steps = ["resolve", "connect", "EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
        self.assertEqual(self.marks(ran), [("✓", step) for step in steps])
        self.assertIn("250 2.0.0 Ok: queued as 7QKB", ran.out)
        self.assertEqual(ran.out.splitlines()[-1], "Follow it with: smtprelay queue show 7QKB")
        self.assertEqual((ran.status, ran.err), (0, ""))

    def test_envelope(self) -> None:
        """The envelope is --from and each --to; without --from the first --to sends to itself."""
        server = FakeServer(self)
        self.send(server, "--to", "bob@example.com", "--from", "scan@example.com")
        self.send(server)
        mails = [line.split()[1] for line in server.heard if line.lower().startswith("mail")]
        rcpts = [line.split()[1] for line in server.heard if line.lower().startswith("rcpt")]
        self.assertEqual(mails, ["FROM:<scan@example.com>", "FROM:<anna@example.com>"])
        self.assertEqual(rcpts, ["TO:<anna@example.com>", "TO:<bob@example.com>", "TO:<anna@example.com>"])

    def test_content(self) -> None:
        """Subject, text and attachments arrive as they were given."""
        server = FakeServer(self)
        attachment = self.file(b"\x00\x01PDF")
        text = self.file(".a line with a dot\nGrüße\n")
        self.send(server, "--subject", "Prüfung", "--body", f"@{text}", "--attach", attachment)
        mail = message_from_bytes(server.mails[0], policy=default)
        body, part = mail.iter_parts()
        self.assertEqual(mail["Subject"], "Prüfung")
        self.assertEqual(body.get_content().replace("\r\n", "\n"), ".a line with a dot\nGrüße\n")
        self.assertEqual((part.get_content(), part.get_filename()), (b"\x00\x01PDF", Path(attachment).name))
        self.assertTrue(mail["Date"])

    def test_count(self) -> None:
        """--count sends so many mails in one session, each with a Message-ID of its own."""
        server = FakeServer(self)
        self.send(server, "--count", "3")
        ids = {message_from_bytes(mail)["Message-ID"] for mail in server.mails}
        self.assertEqual((len(server.mails), len(ids)), (3, 3))
        self.assertEqual(sum(line.lower().startswith("ehlo") for line in server.heard), 1)

    def test_refused(self) -> None:
        """A refusal is shown in the server's words, nothing follows it, and the exit status is 1."""
        server = FakeServer(self, {"MAIL": "550 5.7.1 sender not allowed [rule lan]"})
        ran = self.send(server)
        self.assertIn("550 5.7.1 sender not allowed [rule lan]", ran.out)
        self.assertEqual(self.marks(ran)[-1], ("✗", "MAIL"))
        self.assertEqual(ran.status, 1)

    def test_one_recipient_refused(self) -> None:
        """If one recipient is refused the mail goes to the other, and the exit status is 1."""
        server = FakeServer(self, {"RCPT TO:<bob@example.com>": "550 5.1.1 no such user"})
        ran = self.send(server, "--to", "bob@example.com")
        self.assertEqual(len(server.mails), 1)
        self.assertIn(("✗", "RCPT"), self.marks(ran))
        self.assertEqual(ran.status, 1)

    def test_all_recipients_refused(self) -> None:
        """If nobody is taken there is no DATA."""
        server = FakeServer(self, {"RCPT": "554 5.7.1 relay access denied"})
        ran = self.send(server)
        self.assertEqual((server.mails, ran.status), ([], 1))

    def configured(self, *listeners: str) -> str:
        places = ", ".join(f"{{name: l{n}, endpoint: '{each}'}}" for n, each in enumerate(listeners))
        return self.file(f"listeners: [{places}]\nproviders: {{local: {{type: capture, path: x}}}}\n")

    def test_the_configured_listener(self) -> None:
        """Without --server the mail goes to the first listener with a TCP port, and stderr says so."""
        server = FakeServer(self)
        port = server.address.rpartition(":")[2]
        file = self.configured("unix:/run/x.sock", f"tcp:{port}", "tcp:1")
        ran = self.run_command("send", "-c", file, "--to", "anna@example.com")
        self.assertEqual((ran.status, len(server.mails)), (0, 1))
        told = f"sending to 127.0.0.1:{port}: the listener l1 (--server HOST:PORT is another one)"
        self.assertEqual(ran.err, f"smtprelay: {told}\n")

    def test_no_configured_listener(self) -> None:
        """Without one, or if the listeners are wrong, it is an error, however the configuration is named."""
        os.environ["SMTPRELAY_CONFIG"] = "no-such-file"
        self.addCleanup(os.environ.pop, "SMTPRELAY_CONFIG")
        for text, why in (
            (None, "no-such-file: error: no such file or directory"),
            ("hostnam: x", "hostnam"),
            ("listeners: [{name: lan}]", '"endpoint" is missing'),
            ("listeners: [}", ""),
            ("listeners: [{name: l, endpoint: 'unix:/run/x.sock'}]", "no listener is configured that"),
        ):
            os.environ["SMTPRELAY_CONFIG"] = self.file(text) if text else "no-such-file"
            ran = self.run_command("send", "--to", "a@b.c")
            self.assertEqual((ran.status, ran.out), (78, ""), text)
            self.assertIn(why, ran.err)
            self.assertIn("--server HOST:PORT needs no configuration", ran.err)

    def test_another_setting_is_wrong(self) -> None:
        """What is wrong elsewhere, or not known to who only sends, does not matter to a mail."""
        server = FakeServer(self)
        file = self.configured(f"tcp:{server.address.rpartition(':')[2]}")
        for wrong in ("foo: {tpe: ses}", "routes: [{via: [x]}]", "webhook: {url: '${NOT_SET}'}", "frob: 1"):
            with Path(file).open("a") as opened:
                opened.write(f"{wrong}\n")
            ran = self.run_command("send", "-c", file, "--to", "anna@example.com")
            self.assertEqual(ran.status, 0, ran.err)

    def test_no_configuration(self) -> None:
        """Without any it goes to the port of the demo, and that is told where nothing listens."""
        self.patch(locate, "DEMO", "127.0.0.1:1")
        for argv in (("send", "--to", "a@b.c"), ("sendmail", "a@b.c")):
            ran = self.run_command(*argv, stdin=io.TextIOWrapper(io.BytesIO(b"Subject: x\n\n")))
            why = "nothing listens there (it is the port of smtprelay demo, as no configuration was found)"
            self.assertIn(why, ran.out + ran.err)

    def test_a_listener_with_implicit_tls(self) -> None:
        """A listener with implicit TLS is spoken to in TLS, which a plain server does not understand."""
        server = FakeServer(self)
        file = self.configured(f"tcp:{server.address.rpartition(':')[2]}")
        tls = ("--set", "listeners.0.tls.mode=implicit", "--set", "listeners.0.tls.certificate=x.pem")
        ran = self.run_command("send", "-c", file, *tls, "--to", "anna@example.com")
        self.assertIn("this port does not begin with TLS: try --tls starttls, or none", ran.out)
        self.assertEqual(self.marks(ran), [("✓", "resolve"), ("✗", "connect")])
        self.assertEqual(
            self.run_command("send", "-c", file, *tls, "--tls", "none", "--to", "a@b.c").status, 0
        )

    def test_nobody_listens(self) -> None:
        """A port that is closed fails at connect."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        ran = self.run_command("send", "--server", f"127.0.0.1:{port}", "--to", "a@b.c")
        self.assertEqual(self.marks(ran), [("✓", "resolve"), ("✗", "connect")])
        self.assertIn(f"connection refused by 127.0.0.1 port {port}", ran.out)
        self.assertEqual(ran.status, 1)

    def test_a_port_that_waits_for_tls(self) -> None:
        """Without a greeting, or without the login that only TLS brings, the option that helps is named."""
        ran = self.send(FakeServer(self, tls="implicit"), "--timeout", "0.1")
        self.assertEqual(self.marks(ran)[-1], ("✗", "connect"))
        self.assertIn("does this port need --tls implicit?", ran.out)
        server = FakeServer(self, {"EHLO": "250-fake\r\n250 STARTTLS"})
        ran = self.send(server, "--user", "printer1", "--password-file", self.file("pass word"))
        self.assertIn("it offers STARTTLS: try --tls starttls", ran.out)

    def test_an_unknown_host(self) -> None:
        """It is told in words, without the number of the error."""
        ran = self.run_command("send", "--server", "nowhere.invalid:25", "--to", "a@b.c")
        self.assertEqual(self.marks(ran), [("✗", "resolve")])
        self.assertNotIn("Errno", ran.out)

    def test_login(self) -> None:
        """--user logs in with the first line of the password file, and the password is not shown."""
        server = FakeServer(self)
        ran = self.send(server, "--user", "printer1", "--password-file", self.file("pass word\nmore"))
        self.assertIn(("✓", "AUTH"), self.marks(ran))
        self.assertEqual(ran.status, 0)
        self.assertNotIn("pass word", ran.out + ran.err)

    def test_wrong_password(self) -> None:
        """A wrong password is the server's 535, exit 1, and no mail."""
        server = FakeServer(self)
        ran = self.send(server, "--user", "printer1", "--password-file", self.file("guess"))
        self.assertIn("535 5.7.8 wrong password", ran.out)
        self.assertEqual((ran.status, server.mails), (1, []))

    def test_login_without_password(self) -> None:
        """--user without a password file, where nobody can be asked, is an error of usage."""
        ran = self.send(FakeServer(self), "--user", "printer1")
        self.assertEqual((ran.status, ran.out), (2, ""))

    def test_starttls(self) -> None:
        """STARTTLS with a certificate that we were told to trust: everything after it is inside."""
        server = FakeServer(self, tls="starttls")
        ran = self.send(server, "--tls", "starttls", "--tls-ca", server.ca)
        self.assertIn("✓ STARTTLS     TLSv1.", ran.out)
        self.assertEqual((ran.status, len(server.mails)), (0, 1))

    def test_implicit_tls(self) -> None:
        """TLS from the first byte on."""
        server = FakeServer(self, tls="implicit")
        ran = self.send(server, "--tls", "implicit", "--tls-ca", server.ca)
        self.assertEqual((ran.status, len(server.mails)), (0, 1))

    def test_unknown_certificate(self) -> None:
        """A certificate that nobody vouches for stops it, with the way out; --insecure takes it."""
        server = FakeServer(self, tls="starttls")
        ran = self.send(server, "--tls", "starttls")
        self.assertEqual((ran.status, server.mails), (1, []))
        self.assertIn("(--tls-ca FILE trusts it", ran.out)
        ran = self.send(server, "--tls", "starttls", "--insecure")
        self.assertIn("certificate not verified", ran.out)
        self.assertEqual(ran.status, 0)

    def test_certificate_of_another_name(self) -> None:
        """A certificate that is for another name is not mended by trusting more."""
        server = FakeServer(self, tls="starttls", name="mail.example.com")
        ran = self.send(server, "--tls", "starttls", "--tls-ca", server.ca)
        self.assertIn("(give --server a name of the certificate, --insecure takes any)", ran.out)

    def test_starttls_not_offered(self) -> None:
        """A server without STARTTLS is told apart from one that fails at it."""
        ran = self.send(FakeServer(self), "--tls", "starttls")
        self.assertIn("STARTTLS extension not supported", ran.out)
        self.assertEqual(ran.status, 1)

    def test_internationalized_address(self) -> None:
        """An address beyond ASCII asks for SMTPUTF8 and arrives as UTF-8."""
        server = FakeServer(self)
        ran = self.run_command("send", "--server", server.address, "--to", "jörg@example.com")
        self.assertEqual(ran.status, 0)
        self.assertIn("RCPT TO:<jörg@example.com>", server.heard)
        self.assertIn("To: jörg@example.com".encode(), server.mails[0])

    def test_line_break_in_an_option(self) -> None:
        """A line break in a subject or an address cannot become a header or a command."""
        server = FakeServer(self)
        subject = self.send(server, "--subject", "a\nBcc: eve@example.com")
        address = self.send(server, "--from", "a@b.c>\r\nRCPT TO:<eve@example.com")
        self.assertEqual([subject.status, address.status], [2, 2])
        self.assertEqual((server.heard, server.mails), ([], []))

    def test_bad_server(self) -> None:
        """A server that is no HOST:PORT is an error of usage."""
        for server in ("host:port", "host:0", "host:65536", "host:"):
            ran = self.run_command("send", "--server", server, "--to", "a@b.c")
            self.assertEqual((ran.status, ran.out), (2, ""), server)

    def test_half_an_option(self) -> None:
        """A recipient without an address, and a password without a user, are errors of usage."""
        for argv, told in {
            ("--to", ""): "--to is empty: give the address of a recipient",
            ("--to", "a@b.c", "--password-file", self.file("x")): "--password-file needs --user NAME, too",
        }.items():
            ran = self.run_command("send", "--server", "127.0.0.1:1", *argv)
            self.assertEqual((ran.status, ran.out, ran.err), (2, "", f"smtprelay: {told}\n"))

    def test_missing_certificates(self) -> None:
        """A file of certificates that is not there is named."""
        server = FakeServer(self, tls="starttls")
        ran = self.send(server, "--tls", "starttls", "--tls-ca", "not-there.pem")
        self.assertIn("✗ STARTTLS     --tls-ca not-there.pem: No such file", ran.out)

    def test_missing_files(self) -> None:
        """A file that is missing, or no text, is told with the option that names it."""
        binary = self.mktemp()
        Path(binary).write_bytes(b"\xff")
        for option, value in (
            ("--body", "@missing"),
            ("--body", f"@{binary}"),
            ("--password-file", "missing"),
            ("--attach", "missing"),
        ):
            user = ("--user", "u") if option == "--password-file" else ()
            ran = self.run_command(
                "send", "--server", "127.0.0.1:1", "--to", "b@example.net", *user, option, value
            )
            why = "not UTF-8" if value == f"@{binary}" else "No such file or directory"
            self.assertIn(f"smtprelay: {option} {value.lstrip('@')}: {why}\n", ran.err)

    def test_missing_attachment(self) -> None:
        """An attachment that is not there is named, before anything is sent."""
        server = FakeServer(self)
        ran = self.send(server, "--attach", "not-there.pdf")
        self.assertEqual((ran.status, server.heard), (1, []))
        self.assertIn("not-there.pdf", ran.err)
