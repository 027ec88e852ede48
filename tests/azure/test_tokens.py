"""Tokens of Entra: one for all that ask alike, renewed ahead, and what it means that there is none."""

from typing import Any

from attrs import evolve
from twisted.internet.defer import ensureDeferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.outcome import Blocked, Deferred, Outcome, Throttled
from smtprelay.net.outbound import Outbound, parse_proxy
from smtprelay.testing.entra import EntraRefuses, EntraSilence
from tests.azure.joined_entra import CLIENT, SCOPE, SECRET, JoinedEntra


class TokenTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.joined = JoinedEntra()
        self.fake = self.joined.fake

    def source(self, scope: str = SCOPE, **changed: Any) -> Any:
        source = self.joined.tokens.source("acs", self.joined.application(**changed), scope)
        self.addCleanup(lambda: ensureDeferred(source.close()))
        return source

    def test_asked(self) -> None:
        """The application asks by its secret, for all that it may do with the service."""
        token = self.joined.token(self.source())
        self.assertTrue(self.fake.knows(token, "https://service.example"))
        self.assertEqual(
            self.fake.asked,
            [{"grant_type": "client_credentials", "client_id": CLIENT, "scope": SCOPE}],
        )

    def test_shared(self) -> None:
        """Equal applications have one token for a service; another secret, scope or way has its own."""
        first, second = self.source(), self.source()
        self.assertEqual(self.joined.token(first), self.joined.token(second))
        self.assertEqual(len(self.fake.asked), 1)
        others = [self.source("https://other.example/.default"), self.source(secret_place="file t")]
        outbound = Outbound(proxy=parse_proxy("http://proxy.test:3128"))
        others.append(self.joined.tokens.source("p", self.joined.application(), SCOPE, outbound=outbound))
        self.addCleanup(lambda: ensureDeferred(others[-1].close()))
        tokens = {self.joined.token(each) for each in (first, *others)}
        self.assertEqual((len(tokens), len(self.fake.asked)), (4, 4))

    def test_renewed_until_closed(self) -> None:
        """It is renewed after two thirds of its life, until it is closed: by the configuration, for all."""
        first = self.source()
        self.joined.token(first)
        self.joined.http.advance(2500)
        self.assertEqual(len(self.fake.asked), 2)
        ensureDeferred(first.close())
        self.joined.http.advance(3600)
        self.assertEqual(len(self.fake.asked), 2)

    def test_refused_once(self) -> None:
        """After a 401 there is one new token, for all that ask at the same time."""
        first, second = self.source(), self.source()
        token = self.joined.token(first)
        self.joined.clock.advance(60)
        again = [self.joined.http.run(each.again()) for each in (first, second)]
        tokens = {self.successResultOf(each) for each in again}
        self.assertEqual((len(tokens), len(self.fake.asked)), (1, 2))
        self.assertNotIn(token, tokens)

    def test_secret_replaced(self) -> None:
        """The secret is read again for each token."""
        application = self.fake.application("contoso.com", CLIENT)
        application.secrets["n3w"] = float("inf")
        del application.secrets[SECRET]
        self.joined.secret = "n3w"
        self.assertTrue(self.joined.token(self.source()))

    def test_an_outage_costs_nothing(self) -> None:
        """While Entra is away mail goes on with the token before, until it ends."""
        source = self.source()
        token = self.joined.token(source)
        self.joined.http.refuse = Refused()
        self.joined.http.advance(*[100] * 35)
        self.assertEqual(self.joined.token(source), token)
        self.assertGreater(len(self.joined.events.of("credential.failed")), 2)

    def test_login_of_one(self) -> None:
        """A token that nobody shares is asked for each time."""
        for _ in range(2):
            obtaining = self.joined.tokens.obtain(self.joined.application(), SCOPE)
            found = self.joined.http.result(obtaining)
            self.assertTrue(self.fake.knows(found.value, "https://service.example"))
        self.assertEqual(len(self.fake.issued), 2)


class RefusalTests(SynchronousTestCase):
    """What Entra's refusals mean for the mail."""

    def setUp(self) -> None:
        self.joined = JoinedEntra()

    def blocked(self, **changed: Any) -> str:
        outcome = self.joined.outcome(**changed)
        self.assertIsInstance(outcome, Blocked)
        self.assertNotIn(self.joined.secret, outcome.why)
        return outcome.why

    def scripted(self, *act: Any, **headers: str) -> Outcome:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        self.joined.fake.script(EntraRefuses(*act, headers=given))
        return evolve(self.joined.outcome(), why="")

    def test_mistakes_of_an_operator(self) -> None:
        """A wrong or expired secret, tenant and application block, and say what to do."""
        self.joined.secret = "wr0ng"
        self.assertIn("AADSTS7000215: Invalid client secret", self.blocked())
        self.assertIn("use the secret's value, not its id", self.blocked())
        self.joined.fake.application("contoso.com", CLIENT).secrets["0ld"] = 1.0
        self.joined.secret = "0ld"
        self.assertIn("client_secret has expired: make a new one", self.blocked())
        self.assertIn("check client_id, tenant and cloud", self.blocked(client_id="2"))
        self.assertIn("tenant is not known to Entra", self.blocked(tenant="fabrikam.com"))

    def test_unknown_refusals(self) -> None:
        """A refusal that the table does not know blocks, in Entra's words."""
        self.joined.fake.script(EntraRefuses(401, "invalid_client", 999999, "Something new."))
        self.assertIn("no token: 401 AADSTS999999: Something new. Trace ID", self.blocked())

    def test_outages(self) -> None:
        """What passes by itself does not block: no mail is late because of an alarm that nobody needs."""
        for status in (500, 502, 503, 504):
            self.assertEqual(self.scripted(status, "server_error"), Deferred(""))
        self.assertEqual(self.scripted(400, "temporarily_unavailable", 90033, "Try later."), Deferred(""))
        self.assertEqual(self.scripted(400, "invalid_request", 90033, "Try later."), Deferred(""))
        self.assertEqual(
            self.scripted(429, "slow_down", 50196, "Loop.", Retry_After="17"), Throttled("", 17.0)
        )

    def test_silence(self) -> None:
        """An endpoint that never answers delays no other: the wait ends, and a stop does not wait at all."""
        self.joined.fake.script(EntraSilence(), EntraSilence())
        source = self.joined.tokens.source("acs", self.joined.application(), SCOPE, timeout=5)
        waiting = self.joined.begin(source)
        self.joined.http.advance(6)
        self.assertIn("no credentials within 5 s", str(self.failureResultOf(waiting).value))
        waiting = self.joined.begin(source)
        source.stop_waiting()
        self.assertIn("the relay stops", str(self.failureResultOf(waiting).value))
        ensureDeferred(source.close())

    def test_nothing_planted_is_found(self) -> None:
        """No event has the secret or a token, whether one is obtained or refused."""
        source = self.joined.tokens.source("acs", self.joined.application(), SCOPE)
        token = self.joined.token(source)
        ensureDeferred(source.close())
        self.joined.secret = "wr0ng"
        self.blocked(secret_place="file t")
        for planted in (SECRET, "wr0ng", token):
            self.assertNotIn(planted, repr((self.joined.events.heard, source, self.joined.application())))
