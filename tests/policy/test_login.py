"""Realm, checkers and avatar behind our own protocol, as a client meets them."""

from base64 import b64encode

from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.patterns import Patterns
from smtprelay.policy.checkers.anonymous import AnonymousByNetwork
from smtprelay.policy.checkers.any_login import AnyLogin
from smtprelay.policy.checkers.chain import CheckerChain
from smtprelay.policy.checkers.users import Users
from smtprelay.policy.login_throttle import LoginThrottle
from smtprelay.policy.password_hash import hash_password
from smtprelay.policy.realm import Realm
from smtprelay.policy.settings import Rights, User
from smtprelay.smtp.factory import ESMTPFactory
from smtprelay.smtp.settings import ListenerSettings
from tests.policy.doubles import Store, make_rules
from tests.recording import Recording

ANN = User(
    name="ann",
    password_hash=hash_password(b"s3cret", b"a" * 16, ln=4),
    rights=Rights(senders=Patterns(["ann@b.org"])),
)


class LoginTests(SynchronousTestCase):
    def connect(self, address: str, *, any_login: bool = True, **listener: object) -> None:
        """Connect from ``address`` to a listener with ``ann`` in it, and say EHLO."""
        self.store, self.events, clock = Store(), Recording(), Clock()
        rules = make_rules(self.store, **listener)
        of_names = [Users([ANN], maybeDeferred, clock), AnyLogin(rules.context.listener.allow_from)]
        chain = CheckerChain(of_names if any_login else of_names[:1], LoginThrottle(clock))
        checkers = [AnonymousByNetwork(rules.context.listener), chain]
        settings = ListenerSettings(listener="lan", mechanisms=("PLAIN",), auth_allow_plaintext=True)
        factory = ESMTPFactory(Portal(Realm(rules), checkers), settings, clock, self.events)
        self.factory, self.clock = factory, clock
        self.protocol = factory.buildProtocol(None)
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", address, 40000))
        self.protocol.makeConnection(self.transport)
        self.say(b"EHLO printer")

    def say(self, line: bytes) -> bytes:
        self.transport.clear()
        self.protocol.dataReceived(line + b"\r\n")
        return self.transport.value().rstrip()

    def auth(self, password: bytes, name: bytes = b"ann") -> bytes:
        return self.say(b"AUTH PLAIN " + b64encode(b"\0" + name + b"\0" + password))

    def test_a_client_that_goes_while_its_login_waits(self):
        """Its session ends with it; but a command behind the login is still answered, in its turn."""
        for behind, sessions in ((b"", 0), (b"\r\nNOOP", 1)):
            self.connect("198.51.100.1", has_logins=True)
            for n in range(3):
                self.assertEqual(self.auth(b"guess %d" % n)[:3], b"535")
            self.assertEqual(self.say(b"AUTH PLAIN " + b64encode(b"\0ann\0guess") + behind), b"")
            self.protocol.connectionLost(Failure(ConnectionLost()))
            self.assertEqual(self.factory.sessions, sessions)
            self.clock.advance(1)
            self.assertEqual(self.factory.sessions, 0)
            self.assertEqual(
                self.events.of("auth.failed")[-1]["rule"], "auth" if behind else "login-throttle"
            )

    def test_a_stranger_is_told_why(self):
        """Without a way to log in the refusal names the address; it is told with its rule."""
        self.connect("198.51.100.1")
        self.assertEqual(
            self.say(b"MAIL FROM:<a@b.org>"), b"550 5.7.1 198.51.100.1 may not send through this relay"
        )
        self.assertEqual([event["rule"] for event in self.events.of("smtp.refused")], ["network"])

    def test_a_stranger_logs_in(self):
        """Who logs in may send from anywhere, with the rights of that user alone."""
        self.connect("198.51.100.1", has_logins=True)
        self.assertEqual(self.say(b"MAIL FROM:<ann@b.org>"), b"530 5.7.0 Authentication required")
        self.assertTrue(self.auth(b"wrong").startswith(b"535 "))
        self.assertEqual(self.say(b"MAIL FROM:<ann@b.org>"), b"530 5.7.0 Authentication required")
        self.assertTrue(self.auth(b"s3cret").startswith(b"235 "))
        self.assertTrue(self.say(b"MAIL FROM:<bob@b.org>").startswith(b"553 5.7.1 ann may not send as"))
        for line, code in (
            (b"MAIL FROM:<ann@b.org>", b"250"),
            (b"RCPT TO:<x@y.org>", b"250"),
            (b"DATA", b"354"),
        ):
            self.assertEqual(self.say(line)[:3], code)
        self.assertIn(b"with ESMTPA id m1", self.store.kept[0].body)
        self.assertEqual(self.store.kept[0].draft.client.user, "ann")

    def test_login_required(self):
        """Where a login is required, being in the network is not enough, and a login is."""
        self.connect("127.0.0.1", has_logins=True, auth_required=True)
        self.assertEqual(self.say(b"MAIL FROM:<ann@b.org>"), b"530 5.7.0 Authentication required")
        self.auth(b"s3cret")
        self.assertEqual(self.say(b"MAIL FROM:<ann@b.org>")[:3], b"250")

    def test_logging_in_limits_as_well(self):
        """A client of the network that logs in has the user's rights, no longer the network's."""
        self.connect("127.0.0.1", has_logins=True)
        self.assertEqual(self.say(b"MAIL FROM:<bob@b.org>")[:3], b"250")
        self.say(b"RSET")
        self.auth(b"s3cret")
        self.assertEqual(self.say(b"MAIL FROM:<bob@b.org>")[:3], b"553")

    def test_a_device_that_insists_on_a_login(self):
        """Inside any name and password will do, also where a login is required; outside none does."""
        self.connect("127.0.0.1", has_logins=True, auth_required=True)
        self.assertEqual(self.say(b"MAIL FROM:<bob@b.org>")[:3], b"530")
        self.assertEqual(self.auth(b"whatever", b"scanner")[:3], b"235")
        self.assertEqual(self.say(b"MAIL FROM:<bob@b.org>")[:3], b"250")
        self.assertEqual(self.say(b"RCPT TO:<v%evil.test@b.org>")[:9], b"550 5.7.1")
        self.connect("198.51.100.1", has_logins=True)
        self.assertEqual(self.auth(b"whatever", b"scanner")[:3], b"535")

    def test_why_a_login_failed(self):
        """The operator is told whether name, password or network was wrong; the client hears one reply."""
        told = {}
        for name, password, address, known in (
            (b"ann", b"wrong", "127.0.0.1", {}),
            (b"scanner", b"x", "198.51.100.1", {}),
            (b"scanner", b"x", "127.0.0.1", {"any_login": False}),
        ):
            self.connect(address, has_logins=True, **known)
            heard = self.auth(password, name)
            told[self.events.of("auth.failed")[0]["rule"]] = heard
        self.assertEqual(set(told), {"auth", "auth-network", "auth-user"})
        self.assertEqual(len(set(told.values())), 1)
