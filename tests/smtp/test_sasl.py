"""AUTH: its exchanges, what they lead to, and what is kept secret."""

from base64 import b64encode

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Refused, Reply
from smtprelay.smtp.login.challenge_response import LoginChannel
from smtprelay.smtp.login.login_steps import ClaimedLogin
from smtprelay.smtp.login.sasl import SaslExchange
from tests.smtp.doubles import Line, Names, Site, refused

BOTH = ("PLAIN", "LOGIN")
CHANNEL = LoginChannel()


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


PLAIN = encoded("\0joe\0s3cret")


class Exchanges(SynchronousTestCase):
    def refusal(self, argument: str, *responses: str) -> tuple[int, str]:
        def run() -> None:
            exchange = SaslExchange(argument, BOTH, CHANNEL)
            exchange.start()
            for response in responses:
                exchange.respond(response)

        reply = self.assertRaises(Refused, run).reply
        return reply.code, reply.enhanced

    def test_plain(self):
        """PLAIN takes its response with the command or after an empty challenge."""
        login = ClaimedLogin("PLAIN", "joe", b"s3cret")
        self.assertEqual(SaslExchange(f"PLAIN {PLAIN}", BOTH, CHANNEL).start(), login)
        self.assertEqual(SaslExchange(f"plain {PLAIN}", BOTH, CHANNEL).start(), login)
        exchange = SaslExchange("PLAIN", BOTH, CHANNEL)
        self.assertEqual((exchange.start().code, exchange.respond(PLAIN)), (334, login))

    def test_login(self):
        """LOGIN asks for the name and the password, with the prompts that clients know."""
        exchange = SaslExchange("LOGIN", BOTH, CHANNEL)
        self.assertEqual(exchange.start().text, "VXNlcm5hbWU6")
        self.assertEqual(exchange.respond(encoded("joe")).text, "UGFzc3dvcmQ6")
        self.assertEqual(exchange.respond(encoded("s3cret")), ClaimedLogin("LOGIN", "joe", b"s3cret"))

    def test_login_with_the_name_at_once(self):
        """LOGIN takes the name with the command."""
        exchange = SaslExchange(f"LOGIN {encoded('joe')}", BOTH, CHANNEL)
        self.assertEqual(exchange.start().text, "UGFzc3dvcmQ6")
        self.assertEqual(exchange.respond(encoded("")), ClaimedLogin("LOGIN", "joe", b""))

    def test_authorization_identity(self):
        """For whom one would act is read and ignored: one is who one's password says."""
        for whom in ("joe", "ann", "scan@x.test", "Büro", "\r\n"):
            login = SaslExchange("PLAIN " + encoded(f"{whom}\0joe\0x"), BOTH, CHANNEL).start()
            self.assertEqual((login.username, login.password), ("joe", b"x"))
        self.assertEqual(self.refusal("PLAIN " + encoded("ann\0\0x")), (535, "5.7.8"))

    def test_padding(self):
        """Base64 may be without its padding, with blanks behind it, or with some of the padding."""
        for name, password in (("joe", "s3cret"), ("jo", "s3cre"), ("j", "s3cr"), ("joey", "")):
            whole = SaslExchange("PLAIN " + encoded(f"\0{name}\0{password}"), BOTH, CHANNEL).start()
            bare = encoded(f"\0{name}\0{password}").rstrip("=")
            for form in (bare, f"{bare}=", f"{bare} ", f" {bare}"):
                self.assertEqual(SaslExchange(f"PLAIN {form}", BOTH, CHANNEL).start(), whole, form)
                exchange = SaslExchange("PLAIN", BOTH, CHANNEL)
                exchange.start()
                self.assertEqual(exchange.respond(form), whole)
            exchange = SaslExchange(f"LOGIN {encoded(name).rstrip('=')}", BOTH, CHANNEL)
            exchange.start()
            login = exchange.respond(encoded(password).rstrip("="))
            self.assertEqual((login.username, login.password), (name, password.encode()))

    def test_refused(self):
        """Each thing that can be wrong has its reply."""
        for argument, responses, expected in [
            ("", (), (501, "5.5.4")),
            ("CRAM-MD5", (), (504, "5.5.4")),
            ("PLAIN ???", (), (501, "5.5.2")),
            ("PLAIN QUIxy", (), (501, "5.5.2")),
            ("PLAIN QU=I", (), (501, "5.5.2")),
            ("PLAIN QU I", (), (501, "5.5.2")),
            ("PLAIN", ("*",), (501, "5.7.0")),
            ("LOGIN", (encoded("joe"), "*"), (501, "5.7.0")),
            ("LOGIN", ("ü",), (501, "5.5.2")),
            (f"PLAIN {encoded('joe')}", (), (535, "5.7.8")),
            ("PLAIN =", (), (535, "5.7.8")),
            ("LOGIN", (encoded("a\r\nb"), encoded("x")), (535, "5.7.8")),
            ("LOGIN", (encoded(""), encoded("x")), (535, "5.7.8")),
            (f"LOGIN {b64encode(bytes([0xFF])).decode()}", (encoded("x"),), (535, "5.7.8")),
        ]:
            self.assertEqual(self.refusal(argument, *responses), expected, argument)

    def test_a_mechanism_that_is_not_offered(self):
        """What the listener does not offer is not there."""
        reply = self.assertRaises(Refused, SaslExchange, f"PLAIN {PLAIN}", ("LOGIN",), CHANNEL).reply
        self.assertEqual(reply.code, 504)

    def test_passwords_are_not_shown(self):
        """A password does not appear in the representation of a login."""
        self.assertNotIn("s3cret", repr(ClaimedLogin("PLAIN", "joe", b"s3cret")))


class Sessions(SynchronousTestCase):
    def setUp(self):
        self.users: dict[bytes, object] = {b"joe": b"s3cret"}
        self.site = Site(Names(self.users), anonymous=False, mechanisms=BOTH, auth_allow_plaintext=True)
        self.line = self.site.greeted()

    def test_offered(self):
        """The mechanisms are announced where they may be used, and only there."""
        self.assertIn("250 AUTH PLAIN LOGIN", self.line.say("EHLO x"))
        self.assertFalse(any("AUTH" in line for line in Site(mechanisms=BOTH).connect().say("EHLO x")))

    def test_logged_in(self):
        """Who logs in gets the avatar of the name, which knows the client and its name."""
        self.assertEqual(self.line.say(f"AUTH PLAIN {PLAIN}"), ["235 2.7.0 Authentication successful"])
        self.assertEqual(self.site.desk.logged_in, [b"joe"])
        self.assertEqual(self.line.codes("MAIL FROM:<a@x.test>"), ["250"])
        [avatar] = self.site.desk.avatars
        self.assertEqual((avatar.client.user, avatar.client.protocol), ("joe", "ESMTPA"))
        [told] = self.site.events.of("auth.ok")
        self.assertEqual((told["user"], told["mechanism"]), ("joe", "PLAIN"))

    def test_prompts(self):
        """The prompts of LOGIN are exactly what clients compare with."""
        self.assertEqual(self.line.say("AUTH LOGIN"), ["334 VXNlcm5hbWU6"])
        self.assertEqual(self.line.say(encoded("joe")), ["334 UGFzc3dvcmQ6"])
        self.assertEqual(self.line.codes(encoded("s3cret")), ["235"])

    def test_empty_challenge(self):
        """AUTH PLAIN without a response is asked for it."""
        self.assertEqual(self.line.say("AUTH PLAIN"), ["334 "])
        self.assertEqual(self.line.codes(PLAIN), ["235"])

    def test_cancelled(self):
        """A cancelled exchange is over: the next line is a command again."""
        self.line.say("AUTH LOGIN")
        self.assertEqual(self.line.say("*"), ["501 5.7.0 Authentication cancelled"])
        self.assertEqual(self.line.codes("NOOP", f"AUTH PLAIN {PLAIN}"), ["250", "235"])

    def test_overlong_response(self):
        """A response that is too long ends the exchange."""
        self.line.say("AUTH LOGIN")
        self.assertEqual(self.line.codes("x" * 5000, "NOOP", "AUTH LOGIN"), ["500", "250", "334"])

    def test_wrong_password(self):
        """A wrong password and an unknown name have the same answer, and are told without the password."""
        for user in ("joe", "ann"):
            answer = self.line.say(f"AUTH PLAIN {encoded(chr(0) + user + chr(0) + 'wr0ng')}")
            self.assertEqual(answer, ["535 5.7.8 Authentication credentials invalid"])
        self.assertEqual(len(self.site.events.of("auth.failed")), 2)
        self.assertNotIn("wr0ng", repr(self.site.events.heard))

    def test_checkers_have_the_last_word(self):
        """A checker's own refusal is answered; an unexpected error is 454, and told."""
        self.users[b"joe"] = refused(Reply(code=454, enhanced="4.7.0", text="Entra is away"))
        self.assertEqual(self.line.say(f"AUTH PLAIN {PLAIN}"), ["454 4.7.0 Entra is away"])
        self.users[b"joe"] = OSError("bug")
        self.assertEqual(self.line.say(f"AUTH PLAIN {PLAIN}"), ["454 4.7.0 Temporary authentication failure"])
        self.assertEqual(len(self.site.events.of("session.failed")), 1)
        self.assertEqual(self.line.codes("NOOP"), ["250"])

    def test_late(self):
        """While a checker thinks, the next command waits."""
        self.users[b"joe"] = late = Deferred()
        self.assertEqual(self.line.say(f"AUTH PLAIN {PLAIN}", "NOOP"), [])
        late.callback(b"joe")
        self.assertEqual([reply[:3] for reply in self.line.heard()], ["235", "250"])

    def test_out_of_order(self):
        """AUTH comes before MAIL, with EHLO before it or without, and once."""
        line = self.site.connect()
        self.assertEqual(line.codes(f"AUTH PLAIN {PLAIN}", f"AUTH PLAIN {PLAIN}"), ["235", "503"])
        self.assertEqual(self.site.desk.avatars[0].client.protocol, "ESMTPA")
        self.assertEqual(line.codes("MAIL FROM:<>", f"AUTH PLAIN {PLAIN}"), ["250", "503"])

    def test_guessing(self):
        """Failed logins are errors: so many end the session."""
        site = Site(Names({}), mechanisms=BOTH, auth_allow_plaintext=True, errors=3)
        codes = site.greeted().codes(*[f"AUTH PLAIN {PLAIN}"] * 5)
        self.assertEqual(codes, ["535", "535", "535", "421"])

    def test_trying_again_and_again(self):
        """So are logins that were told to come later: nobody fills the log in one session."""
        away = refused(Reply(code=454, enhanced="4.7.0", text="away"))
        site = Site(Names({b"joe": away}), mechanisms=BOTH, auth_allow_plaintext=True, errors=3)
        self.assertEqual(site.greeted().codes(*[f"AUTH PLAIN {PLAIN}"] * 5), ["454", "454", "454", "421"])

    def test_not_offered(self):
        """AUTH is 538 where it waits for TLS, and 502 where there is none."""
        self.assertEqual(Site(mechanisms=BOTH).greeted().say("AUTH LOGIN")[0][:10], "538 5.7.11")
        self.assertEqual(Site().greeted().codes("AUTH LOGIN"), ["502"])

    def test_login_after_anonymous_mail(self):
        """Who logs in after mail without a name has left the first avatar."""
        site = Site(Names(self.users), mechanisms=BOTH, auth_allow_plaintext=True)
        line: Line = site.greeted()
        line.say("MAIL FROM:<>", "RSET", f"AUTH PLAIN {PLAIN}")
        self.assertEqual((site.desk.logged_in, site.desk.left), ([(), b"joe"], 1))
