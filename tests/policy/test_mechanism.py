"""A mechanism that needs a user's salt in the middle of its exchange, as SCRAM does."""

from base64 import b64decode, b64encode
from hashlib import sha256
from hmac import digest

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from smtprelay.model.credentials import IProofClient, ISalts, ProofClient
from smtprelay.model.message import Refused, Reply
from smtprelay.model.scram import salt_attributes
from smtprelay.policy.checkers.anonymous import AnonymousByNetwork
from smtprelay.policy.checkers.any_login import AnyLogin
from smtprelay.policy.checkers.chain import CheckerChain, UnknownUser
from smtprelay.policy.checkers.users import Users
from smtprelay.policy.login_throttle import LoginThrottle
from smtprelay.policy.networks import LOOPBACK
from smtprelay.policy.realm import Realm
from smtprelay.policy.settings import Identity
from smtprelay.smtp.factory import ESMTPFactory
from smtprelay.smtp.login import sasl
from smtprelay.smtp.login.login_steps import ClaimedLogin, SaltRequest, Step
from smtprelay.smtp.settings import ListenerSettings
from tests.policy.checkers.test_users import ANN
from tests.policy.doubles import Store, make_rules
from tests.recording import Recording
from tests.smtp.doubles import Line

AWAY = Refused(Reply(code=454, enhanced="4.7.0", text="away"))


def salt_of(verifier: bytes) -> bytes:
    return salt_attributes(sha256(verifier).digest()[:16], 15_000)


class Example:
    """Asks for the name, tells its salt, and takes a proof over it."""

    final = b""

    def start(self) -> Step:
        return b""

    def step(self, response: bytes) -> Step:
        self.name = response.decode("utf-8", "surrogateescape")
        self.step = self.proof
        return SaltRequest(self.name, bytes)

    def proof(self, response: bytes) -> Step:
        return ClaimedLogin("EXAMPLE", self.name, response, lambda verifier: prove(verifier) == response)


def prove(verifier: bytes) -> bytes:
    return digest(verifier, salt_of(verifier), "sha256")


@implementer(ICredentialsChecker, ISalts)
class Secrets:
    """Knows passwords in clear text; while ``late`` is a Deferred, not at once."""

    credentialInterfaces = (IProofClient,)

    def __init__(self, **secrets: bytes) -> None:
        self.secrets = secrets
        self.late: Deferred | None = None

    def salt(self, username: bytes) -> object:
        if self.late is not None:
            return self.late.addCallback(lambda _: salt_of(self.secrets[username.decode()]))
        if username.decode() not in self.secrets:
            raise UnknownUser
        return salt_of(self.secrets[username.decode()])

    def requestAvatarId(self, credentials: ProofClient) -> object:
        secret = self.secrets.get(credentials.username.decode())
        if secret is None:
            raise UnknownUser
        if not credentials.checkPassword(secret):
            raise UnauthorizedLogin
        return Identity(name=credentials.username.decode())


class MechanismTests(SynchronousTestCase):
    def setUp(self):
        self.patch(sasl, "MECHANISMS", {**sasl.MECHANISMS, "EXAMPLE": lambda _: Example()})
        self.clock, self.events = Clock(), Recording()
        self.secrets = Secrets(eve=b"s3cret")
        self.chain = CheckerChain(
            [Users([ANN], maybeDeferred, self.clock), self.secrets], LoginThrottle(self.clock)
        )
        self.line = self.connect()

    def connect(self) -> Line:
        """Connect from elsewhere to a listener that offers the mechanism."""
        rules = make_rules(Store(), has_logins=True)
        portal = Portal(Realm(rules), [AnonymousByNetwork(rules.context.listener), self.chain])
        settings = ListenerSettings(listener="lan", mechanisms=("EXAMPLE",), auth_allow_plaintext=True)
        return Line(ESMTPFactory(portal, settings, self.clock, self.events), "198.51.100.1")

    def begin(self, name: str) -> list[str]:
        return self.line.say(f"AUTH EXAMPLE {b64encode(name.encode()).decode()}")

    def end(self, proof: bytes) -> list[str]:
        return self.line.say(b64encode(proof).decode())

    def test_interfaces(self):
        """The chain, as a checker that has verifiers, is one of cred's and gives them."""
        for checker in (self.chain, self.secrets):
            verifyObject(ICredentialsChecker, checker)
            verifyObject(ISalts, checker)
        verifyObject(IProofClient, ProofClient(None, b"", "", b"", bool))

    def test_logged_in(self):
        """The salt is asked for while the client waits; the proof of it ends with an avatar."""
        self.secrets.late = Deferred()
        self.assertEqual(self.begin("eve"), [])
        self.secrets.late.callback(None)
        [challenge] = self.line.heard()
        self.assertEqual((challenge[:4], b64decode(challenge[4:])), ("334 ", salt_of(b"s3cret")))
        self.assertEqual(self.end(prove(b"s3cret")), ["235 2.7.0 Authentication successful"])
        self.assertEqual(self.line.codes("MAIL FROM:<eve@b.org>"), ["250"])
        [told] = self.events.of("auth.ok")
        self.assertEqual((told["user"], told["mechanism"]), ("eve", "EXAMPLE"))

    def test_wrong_proof(self):
        """A wrong proof is a wrong login, told without it, and nobody has logged in."""
        self.begin("eve")
        self.assertEqual(self.end(b"wr0ng"), ["535 5.7.8 Authentication credentials invalid"])
        [told] = self.events.of("auth.failed")
        self.assertEqual((told["user"], told["mechanism"]), ("eve", "EXAMPLE"))
        self.assertNotIn("wr0ng", repr(self.events.heard))
        self.assertEqual(self.line.codes("MAIL FROM:<eve@b.org>"), ["530"])

    def challenge(self, name: str) -> str:
        """Return what the client is asked behind a name, which is no guess yet."""
        [challenge] = self.begin(name)
        self.line.say("*")
        return challenge

    def test_unknown_users_are_not_told_apart(self):
        """Whom no checker knows, or none with a salt, is challenged as others, always the same."""
        known = self.challenge("eve")
        challenges = {name: self.challenge(name) for name in ("bob", "ann")}
        self.assertEqual(len({known, *challenges.values()}), 3)
        self.line = self.connect()
        refusals = set()
        for name, challenge in challenges.items():
            self.assertEqual((self.challenge(name), len(challenge)), (challenge, len(known)))
        for name in ("eve", *challenges):
            self.begin(name)
            refusals.update(self.end(b"wrong"))
        self.assertEqual(refusals, {"535 5.7.8 Authentication credentials invalid"})

    def test_the_fake_proves_nothing(self):
        """Nobody is logged in by the fake salt of a user who is unknown."""
        fake = self.successResultOf(Deferred.fromCoroutine(self.chain.salt(b"bob")))
        self.begin("bob")
        self.assertEqual(self.end(prove(fake))[0][:3], "535")

    def test_guessing_is_slow(self):
        """Wrong proofs are guesses: after a few the next one waits."""
        for n in range(3):
            self.begin("eve")
            self.assertEqual(self.end(b"guess %d" % n)[0][:3], "535")
        self.begin("eve")
        self.assertEqual(self.end(b"guess"), [])
        self.clock.advance(1)
        self.assertEqual(self.line.heard()[0][:3], "535")

    def test_no_salt_now(self):
        """An outage is answered in the checker's words and a bug with 454; neither is a guess."""
        for error, text in ((AWAY, "away"), (OSError("bug"), "Temporary authentication failure")):
            for _ in range(9):
                self.secrets.late = Deferred()
                self.begin("eve")
                self.secrets.late.errback(error)
                self.assertEqual(self.line.heard(), [f"454 4.7.0 {text}"])
        self.secrets.late = None
        self.begin("eve")
        self.assertEqual(self.end(prove(b"s3cret"))[0][:3], "235")

    def test_cancelled(self):
        """The client may cancel behind the challenge."""
        self.begin("eve")
        self.assertEqual(self.line.codes("*", "NOOP"), ["501", "250"])

    def test_names(self):
        """A name that cannot be one is refused before anybody is asked for it."""
        for name in ("", "a\r\nb", "eve\0s3cret"):
            self.assertEqual(
                self.line.codes("AUTH EXAMPLE", b64encode(name.encode()).decode()), ["334", "535"]
            )
        self.assertNotIn("s3cret", repr(self.events.heard))

    def test_no_checker_has_salts(self):
        """Where the portal has none, nobody can tell: 454, and it is told."""
        self.chain = AnyLogin(LOOPBACK)
        self.line = self.connect()
        self.assertEqual(self.begin("eve")[0][:3], "454")
        self.assertEqual(len(self.events.of("session.failed")), 1)
