"""Clients that log in by their certificates (AUTH EXTERNAL), within real TLS."""

from OpenSSL import SSL
from twisted.cred.portal import Portal
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.net.tls_server import ServerContext
from smtprelay.policy.checkers.anonymous import AnonymousByNetwork
from smtprelay.policy.checkers.any_login import AnyLogin
from smtprelay.policy.checkers.chain import CheckerChain
from smtprelay.policy.checkers.users import Users
from smtprelay.policy.login_throttle import LoginThrottle
from smtprelay.policy.realm import Realm
from smtprelay.policy.settings import User
from smtprelay.smtp.factory import ESMTPFactory
from smtprelay.smtp.settings import ListenerSettings
from smtprelay.testing.certificates import Certificate, make_certificate
from tests.policy.doubles import Store, make_rules
from tests.recording import Recording
from tests.smtp.doubles import Line
from tests.smtp.secure_line import SecureLine, client_context
from tests.smtp.test_challenge_response import encoded

USERS = (User(name="app.test"), User(name="joe@x.test"), User(name="ann"))


class CertificateLoginTests(SynchronousTestCase):
    def setUp(self):
        self.clock, self.events = Clock(), Recording()
        self.server = make_certificate(self.mktemp())

    def client(self, *names: str) -> Certificate:
        """Return a certificate, the only one whose authority is trusted."""
        return make_certificate(self.mktemp(), *names)

    def factory(self, mechanisms: tuple[str, ...] = ("PLAIN", "EXTERNAL")) -> ESMTPFactory:
        rules = make_rules(Store(), has_logins=True)
        self.throttle = LoginThrottle(self.clock)
        users = Users(USERS, maybeDeferred, self.clock)
        anybody = AnyLogin(rules.context.listener.allow_from)
        chain = CheckerChain([users, anybody], self.throttle)
        portal = Portal(Realm(rules), [AnonymousByNetwork(rules.context.listener), chain])
        settings = ListenerSettings(listener="lan", mechanisms=mechanisms, tls_implicit=True)
        return ESMTPFactory(portal, settings, self.clock, self.events)

    def connect(
        self, shown: Certificate | None, trusted: Certificate | None = None, **settings: object
    ) -> SecureLine:
        """Connect from elsewhere, showing a certificate to a relay that trusts its authority, or another."""
        authority = trusted or shown or self.client("other.test")
        context = ServerContext([self.server.source], self.clock, self.events, client_ca=str(authority.ca))
        return SecureLine(self.factory(**settings), context, client_context(shown), "198.51.100.1")

    def test_offered(self):
        """It is offered to clients that have shown a certificate, and to no others."""
        line = self.connect(self.client("app.test"))
        self.assertIn("250 AUTH PLAIN EXTERNAL", line.say("EHLO c"))
        line = self.connect(None)
        self.assertIn("250 AUTH PLAIN", line.say("EHLO c"))
        self.assertEqual(line.say("AUTH EXTERNAL =")[0][:9], "504 5.5.4")
        line = self.connect(None, mechanisms=("EXTERNAL",))
        self.assertNotIn("AUTH", " ".join(line.say("EHLO c")))
        self.assertEqual(line.say("MAIL FROM:<a@x.test>")[0][:3], "530")
        plain = Line(self.factory(), "198.51.100.1")
        self.assertNotIn("EXTERNAL", " ".join(plain.say("EHLO c")))

    def test_who_it_is(self):
        """The first of the certificate's names that a user has; the client may also name it."""
        for names, said, user in (
            (("app.test",), ["AUTH EXTERNAL ="], "app.test"),
            (("app.test",), ["AUTH EXTERNAL", ""], "app.test"),
            (("nobody.test", "ann@x.test", "joe@x.test"), ["AUTH EXTERNAL ="], "joe@x.test"),
            (("app.test", "joe@x.test"), [f"AUTH EXTERNAL {encoded('joe@x.test')}"], "joe@x.test"),
            (("app.test", "joe@x.test"), ["auth external", encoded("joe@x.test")], "joe@x.test"),
        ):
            line = self.connect(self.client(*names))
            line.say("EHLO c")
            replies = [line.say(each)[0] for each in said]
            self.assertEqual(replies[-1], "235 2.7.0 Authentication successful", (names, said))
            self.assertEqual(replies[:-1], ["334 "][: len(said) - 1])
            self.assertEqual(self.events.of("auth.ok")[-1]["user"], user)
            self.assertEqual(self.events.of("auth.ok")[-1]["mechanism"], "EXTERNAL")
            self.assertEqual(line.say("MAIL FROM:<a@x.test>")[0][:3], "250")

    def test_refused(self):
        """A name that no user has, and one that is not in the certificate; as often as the client likes."""
        line = self.connect(self.client("nobody.test", "ann.test"))
        line.say("EHLO c")
        for said in ["=", encoded("ann.test"), encoded("ann"), encoded("app.test"), encoded("a\0b")] * 3:
            [reply] = line.say(f"AUTH EXTERNAL {said}")
            self.assertEqual(reply, "535 5.7.8 Authentication credentials invalid", said)
        told = self.events.of("auth.failed")
        self.assertEqual({each["rule"] for each in told}, {"auth-certificate"})
        self.assertEqual((told[0]["user"], told[0]["mechanism"]), ("nobody.test", "EXTERNAL"))

    def test_other_logins(self):
        """A user without password and hash has no other login, and one who says no more is not one."""
        line = self.connect(self.client("app.test"))
        line.say("EHLO c")
        for password in ("", "x"):
            plain = encoded(f"\0app.test\0{password}")
            self.assertEqual(line.say(f"AUTH PLAIN {plain}")[0][:3], "535")
        self.assertEqual(line.say("AUTH EXTERNAL", "*")[1][:9], "501 5.7.0")
        self.assertEqual(line.say("MAIL FROM:<a@x.test>")[0][:3], "530")

    def test_wrong_certificates(self):
        """One by another authority is told with the setting; the client is not served."""
        other = self.client("app.test")
        self.assertEqual(self.handshake(self.client("app.test"), other), "")
        self.assertIn("unknown ca", str(self.failure))
        [told] = self.events.of("smtp.refused")
        self.assertEqual(told["rule"], "tls-handshake")
        self.assertIn("tls.client_ca", told["text"])

    def test_another_session(self):
        """A client that takes up its session again shows its certificate again."""
        for newest in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            made = self.client("app.test")
            context = ServerContext([self.server.source], self.clock, self.events, client_ca=str(made.ca))
            client = client_context(made)
            client.set_max_proto_version(newest)
            first = SecureLine(self.factory(), context, client, "198.51.100.1")
            for session in (first.end.get_session(), None):
                again = SecureLine(self.factory(), context, client, "198.51.100.1", session=session)
                again.say("EHLO c")
                self.assertEqual(again.say("AUTH EXTERNAL =")[0][:3], "235")

    def test_several_servers(self):
        """Clients are asked whichever server they want; one by another authority is refused."""
        made, other = self.client("app.test"), self.client("app.test")
        ours = [self.server.source, make_certificate(self.mktemp(), "two.test").source]
        context = ServerContext(ours, self.clock, self.events, client_ca=str(made.ca))
        for wanted in (b"localhost", b"two.test"):
            shown = client_context(made)
            line = SecureLine(self.factory(), context, shown, "198.51.100.1", wanted=wanted)
            self.assertIn("EXTERNAL", " ".join(line.say("EHLO c")))
            shown = client_context(other)
            with self.assertRaises(SSL.Error):
                SecureLine(self.factory(), context, shown, "198.51.100.1", wanted=wanted).say("EHLO c")

    def test_authorities_are_read_again(self):
        """Another file of authorities counts from the next connection on."""
        made, other = self.client("app.test"), self.client("app.test")
        context = ServerContext([self.server.source], self.clock, self.events, client_ca=str(made.ca))
        made.ca.write_bytes(other.ca.read_bytes())
        self.clock.advance(1)
        line = SecureLine(self.factory(), context, client_context(other), "198.51.100.1")
        self.assertIn("EXTERNAL", " ".join(line.say("EHLO c")))
        made.ca.write_text("no certificate")
        self.clock.advance(1)
        line = SecureLine(self.factory(), context, client_context(other), "198.51.100.1")
        self.assertIn("EXTERNAL", " ".join(line.say("EHLO c")))
        [warning] = self.events.of("relay.warning")
        self.assertIn(str(made.ca), warning["text"])

    def handshake(self, shown: Certificate, trusted: Certificate) -> str:
        """Return what a client reads whose certificate is wrong; keep why it failed."""
        try:
            line = self.connect(shown, trusted)
            return "".join(line.banner + line.say("EHLO c"))
        except SSL.Error as error:
            self.failure = error
            return ""
