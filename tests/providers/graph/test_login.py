"""Graph with the login of each client: its own token, its own lane, and nobody else's trouble."""

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.interfaces import Attempt
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.message import SessionLogin
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Outcome, Throttled
from smtprelay.testing.entra import EntraRefuses
from smtprelay.testing.provider_contract import delivery
from tests.providers.graph_wiring import ANN, BOB, CLIENT, MAIL, SECRET, TENANT, JoinedGraph

LOGIN = SessionLogin(tenant=TENANT, client_id=CLIENT, secret=SECRET)


class LoginGraphTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.joined = JoinedGraph(credential="login", tenant=None, client_id=None, client_secret=None)
        self.entra = self.joined.entra

    def send(self, login: SessionLogin | None = LOGIN) -> Outcome:
        lane = login.application if login is not None else "x"
        item = evolve(delivery(BOB, sender=ANN), lane=lane, author=ANN, size=len(MAIL))
        attempt = Attempt(item, MemoryBody(MAIL), credential=login)
        results: dict[str, Any] = self.joined.result(self.joined.provider.deliver(attempt))
        return results[BOB]

    def blocked(self, login: SessionLogin | None) -> str:
        outcome = self.send(login)
        assert isinstance(outcome, Blocked), outcome
        self.assertEqual(outcome.lane, login.application if login is not None else "x")
        self.assertNotIn(SECRET, outcome.why)
        return outcome.why

    def test_sent(self) -> None:
        """A mail is sent with the token of its login, which is asked for once."""
        for _ in range(3):
            self.assertIsInstance(self.send(), Delivered)
        self.assertEqual([each["client_id"] for each in self.entra.asked], [CLIENT])
        self.assertTrue(self.joined.provider.uses_login)

    def test_shared_with_the_checker(self) -> None:
        """The token with which a client was let in is that of its mail."""
        self.joined.result(self.joined.context.logins.current(LOGIN, self.joined.settings.token_request))
        self.assertIsInstance(self.send(), Delivered)
        self.assertEqual(len(self.entra.asked), 1)

    def test_lane(self) -> None:
        """Each login has its own lane, another secret of the same application another one."""
        lanes = {
            self.joined.provider.lane(delivery(BOB, sender=ANN).envelope, ANN, each.application)
            for each in (LOGIN, evolve(LOGIN, secret="n3w"), evolve(LOGIN, client_id="c"))
        }
        self.assertEqual(len(lanes), 3)
        self.assertNotIn(SECRET, repr(lanes))

    def test_revoked(self) -> None:
        """A secret that is revoked stops its lane alone, says what to do, and is not asked for again soon."""
        secrets = self.entra.application(TENANT, CLIENT).secrets
        del secrets[SECRET]
        secrets["n3w"] = float("inf")
        for _ in range(20):
            self.assertIn("client_secret is wrong", self.blocked(LOGIN))
        self.assertEqual(len(self.entra.asked), 1)
        self.assertIsInstance(self.send(evolve(LOGIN, secret="n3w")), Delivered)

    def test_revoked_while_its_token_lives(self) -> None:
        """After a 401 of Graph there is one new token; if there is none, the lane is stopped."""
        self.assertIsInstance(self.send(), Delivered)
        self.joined.clock.advance(60)
        self.entra.issued.clear()
        self.assertIsInstance(self.send(), Delivered)
        self.assertEqual(len(self.entra.asked), 2)
        self.joined.clock.advance(60)
        self.entra.issued.clear()
        self.entra.application(TENANT, CLIENT).secrets.clear()
        self.blocked(LOGIN)

    def test_outages(self) -> None:
        """While Entra is away the mail waits; too many requests slow down its lane alone."""
        self.entra.script(EntraRefuses(503, "temporarily_unavailable", 90033))
        self.assertIsInstance(self.send(), Deferred)
        self.entra.script(EntraRefuses(429, "invalid_request", 90055))
        outcome = self.send()
        assert isinstance(outcome, Throttled), outcome
        self.assertEqual(outcome.lane, LOGIN.application)

    def test_no_login(self) -> None:
        """Without a login nothing is sent."""
        self.assertIn("without a login", self.blocked(None))
        self.assertEqual((self.entra.asked, self.joined.fake.mails), ([], []))

    def test_never_probed(self) -> None:
        """Only a mail can tell whether a login works again."""
        self.assertIsNone(self.joined.result(self.joined.provider.probe(LOGIN.application)))
        self.assertEqual(self.entra.asked, [])
