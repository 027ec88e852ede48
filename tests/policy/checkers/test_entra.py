"""Applications of Entra as users: beside others on one listener, and what their clients are told."""

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import ConnectError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smtprelay.azure.login_tokens import LoginTokens
from smtprelay.azure.token_request import TokenRequest
from smtprelay.model.credentials import PasswordClient
from smtprelay.model.message import Client, Refused, Reply, SessionLogin
from smtprelay.policy.checkers.any_login import AnyLogin
from smtprelay.policy.checkers.chain import CheckerChain, UnknownUser
from smtprelay.policy.checkers.entra import EntraLogins, EntraPasswords
from smtprelay.policy.checkers.entra_name import application_names
from smtprelay.policy.checkers.users import Users
from smtprelay.policy.login_throttle import LoginThrottle
from smtprelay.policy.networks import Networks
from smtprelay.policy.settings import Identity
from smtprelay.testing.entra import EntraRefuses, EntraSilence
from tests.azure.joined_entra import CLIENT, SCOPE, SECRET, JoinedEntra
from tests.policy.checkers.test_users import ANN

TENANT = "99999999-8888-7777-6666-555555555555"
LONG, SHORT = application_names(TENANT, CLIENT, "@")
AUTHORITY = "https://login.microsoftonline.com"


class EntraCase(SynchronousTestCase):
    """A chain of the users, an Entra checker and one that takes all."""

    def setUp(self) -> None:
        self.joined = JoinedEntra()
        self.fake = self.joined.fake
        self.secrets = self.fake.application(TENANT, CLIENT).secrets
        self.secrets[SECRET] = float("inf")
        request = TokenRequest(authority=AUTHORITY, scope=SCOPE, timeout=10.0)
        self.passwords = EntraPasswords(LoginTokens(self.joined.tokens, self.joined.clock), request)
        self.entra = EntraLogins(self.passwords, "@", frozenset({TENANT}))
        self.use(self.entra)

    def use(self, *own: Any) -> None:
        """Have a chain with ``own`` among the others."""
        users = Users([ANN], maybeDeferred, self.joined.clock)
        any_ = AnyLogin(Networks.parse(["10.0.0.0/8"]))
        self.chain = CheckerChain([users, *own, any_], LoginThrottle(self.joined.clock))

    def begin(self, name: str, password: Any = SECRET, address: str = "198.51.100.1") -> Any:
        octets = password if isinstance(password, bytes) else password.encode()
        credentials = PasswordClient(Client(address=address), name.encode(), octets)
        deferred = self.chain.requestAvatarId(credentials)
        self.joined.http.flush()
        return deferred

    def login(self, name: str, password: Any = SECRET, address: str = "198.51.100.1") -> Any:
        return self.successResultOf(self.begin(name, password, address))

    def reply(self, name: str, password: str = SECRET, address: str = "198.51.100.1") -> Reply:
        reply: Reply = self.failureResultOf(self.begin(name, password, address), Refused).value.reply
        self.assertNotIn(password, reply.text)
        return reply


class EntraLoginTests(EntraCase):
    def test_interface(self) -> None:
        """It is a checker for cred's portal."""
        verifyObject(ICredentialsChecker, self.entra)

    def test_right(self) -> None:
        """Whatever form the name has, its application is called the same, and has its own login."""
        login = SessionLogin(tenant=TENANT, client_id=CLIENT, secret=SECRET)
        for name in (LONG, SHORT, f"{LONG}.local", LONG.upper()):
            self.assertEqual(self.login(name), Identity(name=LONG, login=login))
        self.assertEqual(len(self.fake.asked), 1)

    def test_refused(self) -> None:
        """What Entra refuses is refused for good, with its number and what to do."""
        self.secrets["0ld"] = 0.0
        stranger = application_names(TENANT, TENANT, "@")[0]
        for name, secret, code in (
            (LONG, "guess", "AADSTS7000215"),
            (SHORT, "0ld", "AADSTS7000222"),
            (stranger, SECRET, "AADSTS700016"),
        ):
            reply = self.reply(name, secret, f"198.51.100.{len(code) + len(secret)}")
            self.assertEqual((reply.code, reply.enhanced, reply.rule), (535, "5.7.8", "entra-refused"))
            self.assertIn(code, reply.text)

    def test_no_secret(self) -> None:
        """A password that is none is refused without asking."""
        for password in ("", "  ", b"\xff", "x" * 2000):
            self.use(self.entra)
            self.failureResultOf(self.begin(LONG, password), UnauthorizedLogin)
        self.assertEqual(self.fake.asked, [])

    def test_other_tenants(self) -> None:
        """An application of another tenant is not asked for."""
        self.fake.application(CLIENT, CLIENT).secrets[SECRET] = float("inf")
        name = application_names(CLIENT, CLIENT, "@")[0]
        failure = self.failureResultOf(maybeDeferred(self.entra.requestAvatarId, self.credentials(name)))
        self.assertEqual(failure.value.rule, "entra-tenant")
        self.assertEqual(self.fake.asked, [])
        anybody = EntraLogins(self.passwords, "@")
        self.use(anybody)
        self.assertEqual(self.login(name).name, name)

    def credentials(self, name: str) -> PasswordClient:
        return PasswordClient(Client(address="198.51.100.1"), name.encode(), SECRET.encode())

    def test_not_now(self) -> None:
        """What is no refusal of the login is temporary, and never a guess."""
        acts = (
            EntraRefuses(503, "temporarily_unavailable", 90033),
            EntraRefuses(429, "invalid_request", 50196, headers={"Retry-After": "5"}),
            EntraRefuses(400, "invalid_scope", 70011),
            EntraRefuses(403, ""),
            EntraRefuses(200, ""),
        )
        for act in acts * 4:
            self.fake.script(act)
            reply = self.reply(LONG)
            self.assertEqual((reply.code, reply.enhanced, reply.rule), (454, "4.7.0", "entra-unavailable"))
        self.joined.http.refuse = ConnectError()
        self.assertEqual(self.reply(LONG).code, 454)
        self.joined.http.refuse = None
        self.assertEqual(self.login(LONG).name, LONG)

    def test_beside_others(self) -> None:
        """Each name belongs to one checker; those of others cost no request, and nobody's time."""
        self.assertEqual(self.login("ann", "s3cret").rights, ANN.rights)
        self.assertEqual(self.login("scanner", "x", "10.0.0.7"), Identity(name="scanner", verified=False))
        self.failureResultOf(self.begin("eve", "x"), UnknownUser)
        self.assertEqual(self.fake.asked, [])
        for number in range(20):
            self.begin(LONG, f"guess {number}", "10.0.0.8").addErrback(lambda _: None)
        self.assertEqual(self.login("ann", "s3cret").rights, ANN.rights)

    def test_a_wrong_one_is_nobody_elses(self) -> None:
        """A checker behind it does not take a name that is its own."""
        self.assertEqual(self.reply(LONG, "guess", "10.0.0.7").code, 535)

    def test_one_that_hangs(self) -> None:
        """While Entra does not answer one client, others log in."""
        self.fake.script(EntraSilence())
        hangs = self.begin(LONG, "wrong", "203.0.113.7")
        self.assertEqual(self.login(LONG).name, LONG)
        self.assertEqual(self.login("ann", "s3cret").name, "ann")
        self.assertNoResult(hangs)
        self.joined.http.advance(31)
        self.assertEqual(self.failureResultOf(hangs, Refused).value.reply.code, 454)

    def test_a_guesser(self) -> None:
        """Who guesses from many addresses is not let through to Entra, and the owner is not locked out."""
        self.login(LONG)
        replies = []
        for number in range(200):
            guess = self.begin(SHORT if number % 2 else LONG, f"guess {number}", f"203.0.113.{number}")
            guess.addErrback(lambda failure: replies.append(failure.value.reply.code))
        self.assertLess(len(self.fake.asked), 12)
        self.assertEqual(self.login(LONG).name, LONG)
