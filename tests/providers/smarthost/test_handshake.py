from base64 import b64decode, b64encode

from smtprelay.model.outcome import Blocked, Deferred, Delivered
from smtprelay.providers.smarthost.provider import Smarthost
from smtprelay.testing.smtp import SmtpSink
from tests.providers.smarthost_wiring import HOST, Case, Joined
from tests.recording import Recording

A, B = "b@example.net", "c@example.net"
LARGE = 300_000


class BeginTests(Case):
    def test_helo(self) -> None:
        """A server that does not know EHLO is greeted with HELO."""
        joined = Joined(SmtpSink(keywords=None))
        self.assertIsInstance(self.one(joined), Delivered)
        self.assertEqual(joined.sink.lines[:2], ["EHLO relay.example.com", "HELO relay.example.com"])

    def test_unwelcome(self) -> None:
        """A permanent refusal of ourselves blocks, a temporary one defers."""
        for verb, reply, kind in (
            ("CONNECT", "554 5.7.1 go away", Blocked),
            ("CONNECT", "450 4.3.2 not now", Deferred),
            ("EHLO", "450 4.3.2 not now", Deferred),
            ("AUTH", "454 4.7.0 not now", Deferred),
            ("AUTH", "535 5.7.8 no", Blocked),
            ("AUTH", "504 5.5.4 no", Blocked),
        ):
            joined = Joined(SmtpSink(users={"u": "p"}), username="u", password=lambda: "p")
            joined.sink.script(verb, reply)
            self.assert_outcome(self.one(joined), kind, reply)
            self.assertEqual(joined.clock.getDelayedCalls(), [])

    def test_login(self) -> None:
        """PLAIN and LOGIN log in with what is configured."""
        for mechanism in ("PLAIN", "LOGIN"):
            sink = SmtpSink(users={"jürg": "geheim ü"}, required=True, mechanisms=("X", mechanism))
            joined = Joined(sink, username="jürg", password=lambda: "geheim ü")
            self.assertIsInstance(self.one(joined), Delivered)
            self.assertEqual(joined.sink.messages[0].user, "jürg")

    def test_cram_md5(self) -> None:
        """CRAM-MD5 answers the challenge as RFC 2195 does in its example."""
        sink = SmtpSink(users={"tim": ""}, mechanisms=("CRAM-MD5",))
        sink.script("AUTH", b"334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+\r\n")
        joined = Joined(sink, username="tim", password=lambda: "tanstaaftanstaaf")
        joined.start()
        self.assertIn("dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw", sink.lines)

    def test_challenge_that_is_no_base64(self) -> None:
        """A challenge that cannot be read defers."""
        sink = SmtpSink(users={"u": "p"}, mechanisms=("CRAM-MD5",))
        sink.script("AUTH", b"334 ???\r\n")
        joined = Joined(sink, username="u", password=lambda: "p")
        self.assert_outcome(self.one(joined), Deferred, "not base64")

    def test_wrong_password(self) -> None:
        """A refused login blocks, in the server's words and without the password."""
        joined = Joined(SmtpSink(users={"u": "p"}), username="u", password=lambda: "wrong!")
        outcome = self.one(joined)
        self.assert_outcome(outcome, Blocked, "535 5.7.8 wrong name or password")
        self.assertNotIn("wrong!", outcome.why)

    def test_server_that_repeats(self) -> None:
        """A server that repeats what it does not understand gives no password away."""
        secret = "s3cret-word"
        plain = b64encode(f"\0u\0{secret}".encode()).decode()
        for mechanism, told in (
            ("plain", f"535 5.7.8 what is AUTH PLAIN {plain}?"),
            ("login", f"535 5.7.8 what is {b64encode(secret.encode()).decode()}, {secret}?"),
        ):
            sink = SmtpSink(users={"u": "p"})
            sink.script("AUTH", told)
            joined = Joined(sink, username="u", password=lambda: secret, mechanism=mechanism)
            outcome = self.one(joined)
            self.assertIsInstance(outcome, Blocked)
            self.assertIn("535 5.7.8", outcome.why)
            for each in (secret, plain, b64encode(secret.encode()).decode()):
                self.assertNotIn(each, outcome.why)

    def test_password_is_read_anew(self) -> None:
        """A password that is refused is read again, and if it was corrected the mail goes with it at once."""
        passwords = ["wrong", "right"]
        joined = Joined(SmtpSink(users={"u": "right"}), username="u", password=lambda: passwords.pop(0))
        self.assertIsInstance(self.one(joined), Delivered)
        self.assertEqual(joined.sink.connections, 2)

    def test_password_that_stays_wrong(self) -> None:
        """The same password is not tried twice: servers lock accounts for that."""
        joined = Joined(SmtpSink(users={"u": "right"}), username="u", password=lambda: "wrong")
        self.assertIsInstance(self.one(joined), Blocked)
        self.assertEqual(joined.sink.connections, 1)

    def test_mechanism(self) -> None:
        """What is configured is used, also if the server would like another one better."""
        for mechanism in ("PLAIN", "LOGIN"):
            sink = SmtpSink(users={"u": "p"}, required=True)
            joined = Joined(sink, username="u", password=lambda: "p", mechanism=mechanism.lower())
            self.assertIsInstance(self.one(joined), Delivered)
            [line] = [line for line in sink.lines if line.startswith("AUTH")]
            self.assertEqual(line.split()[1], mechanism)

    def test_mechanism_that_is_not_offered(self) -> None:
        """It blocks, and says what the server offers and what is wanted."""
        joined = Joined(SmtpSink(users={"u": "p"}), username="u", password=lambda: "p", mechanism="cram-md5")
        self.assert_outcome(
            self.one(joined), Blocked, "smtp.example.com:25: it offers LOGIN, PLAIN, we want CRAM-MD5"
        )
        self.assertNotIn("AUTH", " ".join(joined.sink.lines))

    def test_no_password_in_clear_text_if_it_can_be_helped(self) -> None:
        """Without TLS ``auto`` takes the mechanism that does not show the password."""
        sink = SmtpSink(users={"u": "p"}, mechanisms=("PLAIN", "LOGIN", "CRAM-MD5"))
        joined = Joined(sink, username="u", password=lambda: "p")
        joined.start()
        self.assertIn("AUTH CRAM-MD5", sink.lines)

    def test_xoauth2(self) -> None:
        """The token is sent as Microsoft and Google document it; a refusal is read to its end."""
        sink = SmtpSink(users={"relay@example.com": ""}, mechanisms=("XOAUTH2",))
        given = {"username": "relay@example.com", "password": lambda: "ya29.t", "mechanism": "xoauth2"}
        sink.script("AUTH", "235 2.7.0 Accepted")
        self.assertIsInstance(self.one(Joined(sink, **given)), Delivered)
        [line] = [line for line in sink.lines if line.startswith("AUTH")]
        self.assertEqual(b64decode(line.split()[2]), b"user=relay@example.com\1auth=Bearer ya29.t\1\1")
        sink.script("AUTH", b"334 eyJzdGF0dXMiOiI0MDAifQ==\r\n")
        sink.always("", "535 5.7.3 Authentication unsuccessful")
        outcome = self.one(Joined(sink, **given))
        self.assert_outcome(
            outcome, Blocked, "smtp.example.com:25 refused the login of relay@example.com: 535 5.7.3"
        )
        self.assertEqual(sink.lines[-1], "")
        self.assertNotIn("ya29", str(outcome))

    def test_opportunistic(self) -> None:
        """``opportunistic`` goes on without TLS where the server offers none."""
        joined = Joined(tls="opportunistic")
        self.assertIsInstance(self.one(joined), Delivered)
        self.assertFalse(joined.sink.messages[0].tls)

    def test_password_that_cannot_be_read(self) -> None:
        """A secret that is missing blocks."""

        def password() -> str:
            raise FileNotFoundError("/run/secrets/p")

        joined = Joined(SmtpSink(users={"u": "p"}), username="u", password=password)
        self.assert_outcome(self.one(joined), Blocked, "/run/secrets/p")

    def test_no_common_mechanism(self) -> None:
        """A server that offers no login, or none that we know, blocks and says what it offers."""
        for users, words in (({}, "none"), ({"u": "p"}, "NTLM")):
            joined = Joined(SmtpSink(users=users, mechanisms=("NTLM",)), username="u", password=lambda: "p")
            self.assert_outcome(self.one(joined), Blocked, words)

    def test_starttls_missing(self) -> None:
        """Without STARTTLS nothing is sent that should be encrypted: the provider is blocked."""
        joined = Joined(SmtpSink(users={"u": "p"}), tls="starttls", username="u", password=lambda: "p")
        self.assert_outcome(self.one(joined), Blocked, "STARTTLS")
        self.assertEqual([line.split()[0] for line in joined.sink.lines], ["EHLO"])

    def test_plain_text_after_starttls(self) -> None:
        """What follows the reply to STARTTLS in plain text is never believed."""
        for injected in (b"250-x\r\n250 AUTH PLAIN\r\n", b"250-x\r\n", b"2"):
            joined = Joined(SmtpSink(keywords=("STARTTLS",)), tls="starttls")
            joined.sink.script("STARTTLS", b"220 go on\r\n" + injected)
            joined.sink.tls_options = lambda: None
            self.assertIsInstance(self.one(joined), Deferred)
            self.assertEqual([line.split()[0] for line in joined.sink.lines], ["EHLO", "STARTTLS"])

    def test_starttls_refused(self) -> None:
        """454 to STARTTLS defers, 501 blocks."""
        for reply, kind in (("454 4.7.0 not now", Deferred), ("501 5.5.4 no", Blocked)):
            joined = Joined(SmtpSink(keywords=("STARTTLS",)), tls="starttls")
            joined.sink.script("STARTTLS", reply)
            self.assert_outcome(self.one(joined), kind, reply)

    def test_bad_helo(self) -> None:
        """A name that could smuggle a command is refused at start."""
        for name in ("a\r\nMAIL", "", "a b", "ü"):
            joined = Joined()
            self.assertRaises(
                ValueError, Smarthost, "x", joined.clock, HOST.__class__(host="h", helo=name), Recording()
            )
