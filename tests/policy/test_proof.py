"""Users of the configuration who prove that they know their password, with another program's client."""

import hmac
from base64 import b64decode, b64encode

from scramp import ScramClient
from twisted.cred.portal import Portal
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.policy.checkers.anonymous import AnonymousByNetwork
from smtprelay.policy.checkers.chain import CheckerChain
from smtprelay.policy.checkers.users import Users
from smtprelay.policy.login_throttle import LoginThrottle
from smtprelay.policy.password_hash import hash_password
from smtprelay.policy.realm import Realm
from smtprelay.policy.settings import User
from smtprelay.policy.user_secret import hash_for_scram
from smtprelay.smtp.factory import ESMTPFactory
from smtprelay.smtp.settings import ListenerSettings
from tests.policy.doubles import Store, make_rules
from tests.recording import Recording
from tests.smtp.doubles import Line
from tests.smtp.test_challenge_response import encoded

MECHANISMS = ("PLAIN", "CRAM-MD5", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS")
SEED = b"0123456789abcdef"
USERS = (
    User(name="ann", password_hash=hash_password(b"s3cret", b"a" * 16, ln=4)),
    User(name="eve", password_hash=hash_for_scram("Gr\u00fc\u00dfe".encode(), SEED, 4096)),
    User(name="tim", password=lambda: "tanstaaf"),
)


class ProofTests(SynchronousTestCase):
    def setUp(self):
        self.line = self.connect()

    def connect(self, *users: User) -> Line:
        """Connect to a relay that has begun just now."""
        self.clock, self.events = Clock(), Recording()
        rules = make_rules(Store(), has_logins=True)
        self.work: list[str] = []
        checkers = [Users(users or USERS, self.in_thread, self.clock)]
        chain = CheckerChain(checkers, LoginThrottle(self.clock))
        portal = Portal(Realm(rules), [AnonymousByNetwork(rules.context.listener), chain])
        settings = ListenerSettings(listener="lan", mechanisms=MECHANISMS, auth_allow_plaintext=True)
        line = Line(ESMTPFactory(portal, settings, self.clock, self.events), "198.51.100.1")
        self.greeting = line.say("EHLO client")
        return line

    def in_thread(self, function: object, *arguments: object) -> object:
        self.work.append(function.__name__)
        return maybeDeferred(function, *arguments)

    def plain(self, name: str, password: str) -> str:
        [reply] = self.line.say(
            f"AUTH PLAIN {b64encode(f'{chr(0)}{name}{chr(0)}{password}'.encode()).decode()}"
        )
        return reply[:3]

    def cram(self, name: str, password: str) -> str:
        challenge = b64decode(self.line.say("AUTH CRAM-MD5")[0][4:])
        digest = hmac.new(password.encode(), challenge, "md5").hexdigest()
        return "".join(self.line.say(encoded(f"{name} {digest}")))[:3]

    def prove(self, name: str, password: str) -> tuple[ScramClient, str]:
        """Return a client that has sent its proof, and the answer to that."""
        client = ScramClient(["SCRAM-SHA-256"], name, password)
        [reply] = self.line.say(f"AUTH SCRAM-SHA-256 {encoded(client.get_client_first())}")
        first = b64decode(reply[4:]).decode()
        self.told = first.partition(",")[2]  # s=…,i=…
        client.set_server_first(first)
        return client, self.line.say(encoded(client.get_client_final()))[0]

    def scram(self, name: str, password: str) -> str:
        client, reply = self.prove(name, password)
        if not reply.startswith("334 "):
            return reply[:3]
        client.set_server_final(b64decode(reply[4:]).decode())
        return self.line.say("")[0][:3]

    def test_offered(self):
        """What needs TLS is not offered without it."""
        self.assertIn("250 AUTH PLAIN CRAM-MD5 SCRAM-SHA-256", self.greeting)
        self.assertEqual(self.line.codes("AUTH SCRAM-SHA-256-PLUS"), ["504"])

    def test_who_can(self):
        """Each user logs in by what its secret serves, and no other password does."""
        passwords = {"ann": "s3cret", "eve": "Gr\u00fc\u00dfe", "tim": "tanstaaf"}
        can = {}
        for name, password in passwords.items():
            for login in (self.plain, self.cram, self.scram):
                self.line = self.connect()
                if login(name, password) == "235":
                    can.setdefault(name, []).append(login.__name__)
                    [told] = self.events.of("auth.ok")
                    self.assertEqual(told["user"], name)
                    self.assertEqual(self.line.codes(f"MAIL FROM:<{name}@b.org>"), ["250"])
                self.line = self.connect()
                self.assertEqual(login(name, f"{password}."), "535")
                self.assertEqual(self.line.codes(f"MAIL FROM:<{name}@b.org>"), ["530"])
        self.assertEqual(
            can, {"ann": ["plain"], "eve": ["plain", "scram"], "tim": ["plain", "cram", "scram"]}
        )

    def test_unknown_users_are_not_told_apart(self):
        """They are challenged as others, with the same work and end; and the same again after a restart."""
        told, works = {}, set()
        for name in ("eve", "ann", "bob", "joe"):
            for _ in range(2):
                self.line = self.connect()
                self.assertEqual(self.scram(name, "wrong"), "535")
                told.setdefault(name, set()).add(self.told)
                works.add(tuple(self.work))
        self.line = self.connect()
        self.scram("tim", "wrong")
        self.assertEqual({*works, tuple(self.work)}, {("_keys",)})
        self.assertEqual({len(each) for each in told.values()}, {1})
        everything = set().union(*told.values())
        self.assertEqual((len(everything), {len(each) for each in everything}), (4, {len(self.told)}))
        self.assertEqual({each.partition(",")[2] for each in everything}, {"i=4096"})

    def test_without_stored_keys(self):
        """Where no salt is stored, those of all names are new after a restart, and the same until then."""
        for name in ("tim", "bob"):
            told = []
            for _ in range(2):
                self.line = self.connect(USERS[2])
                for _ in range(2):
                    self.scram(name, "wrong")
                    told.append(self.told)
            self.assertEqual([len(set(told[:2])), len(set(told))], [1, 2])

    def test_the_seed_is_not_told(self):
        """What a client is told of a known user is not what the salts of other names are made from."""
        self.scram("eve", "x")
        self.assertNotIn(b64encode(SEED).decode(), self.told)

    def test_empty_proofs(self):
        """A proof that is empty is a wrong one, as an empty password is."""
        for response in ("tim ", "nobody "):
            self.line.say("AUTH CRAM-MD5")
            self.assertEqual(self.line.codes(encoded(response)), ["535"])
        self.assertEqual(self.events.of("session.failed"), [])

    def test_confirmation(self):
        """Who does not take our proof has not logged in, and is not the user."""
        for response in ("*", encoded("no")):
            self.assertEqual(self.prove("tim", "tanstaaf")[1][:3], "334")
            self.assertEqual(self.line.codes(response, "MAIL FROM:<tim@b.org>"), ["501", "530"])
        self.assertEqual(self.events.of("auth.ok"), [])
        self.assertEqual(self.scram("tim", "tanstaaf"), "235")

    def test_guessing_is_slow(self):
        """Wrong proofs count as wrong passwords do, all mechanisms together."""
        for login in (self.plain, self.cram, self.scram):
            self.assertEqual(login("tim", "wrong"), "535")
        self.assertEqual(self.cram("tim", "other"), "")
        self.clock.advance(1)
        self.assertEqual(self.line.heard()[0][:3], "535")

    def test_nothing_is_told(self):
        """No event has a password, a proof or a salt."""
        self.scram("tim", "tanstaaf")
        told = repr(self.events.heard)
        for secret in ("tanstaaf", self.told):
            self.assertNotIn(secret, told)
