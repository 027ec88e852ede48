"""Tokens of clients' logins: kept and shared, and nobody's guesses knock too often at Entra's door."""

from typing import Any

from attrs import evolve
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.azure.login_tokens import MARGIN, RECENT, REFUSALS, REPEATED, WINDOW, LoginTokens
from smtprelay.azure.token_request import TokenRequest
from smtprelay.http.client import NotSent
from smtprelay.http.oauth import NoTokenError
from smtprelay.model.message import SessionLogin
from smtprelay.model.outcome import Blocked, Deferred, Throttled
from smtprelay.testing.entra import EntraRefuses, EntraSilence
from tests.azure.joined_entra import CLIENT, SCOPE, SECRET, TENANT, JoinedEntra

REQUEST = TokenRequest(authority="https://login.microsoftonline.com", scope=SCOPE, timeout=10.0)
LOGIN = SessionLogin(tenant=TENANT, client_id=CLIENT, secret=SECRET)
OTHER = evolve(LOGIN, tenant="other.example")


class LoginTokenTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.joined = JoinedEntra()
        self.fake = self.joined.fake
        self.fake.application(OTHER.tenant, CLIENT).secrets[SECRET] = float("inf")
        self.tokens = LoginTokens(self.joined.tokens, self.joined.clock)

    def token(self, login: SessionLogin = LOGIN, request: TokenRequest = REQUEST) -> str:
        return str(self.joined.http.result(self.tokens.current(login, request), 1))

    def refused(self, login: SessionLogin) -> Any:
        error = self.assertRaises(NotSent, self.token, login)
        self.assertNotIn(login.secret, repr(error))
        return error

    def guess(self, number: int, login: SessionLogin = LOGIN) -> SessionLogin:
        return evolve(login, secret=f"guess {number}")

    def test_kept(self) -> None:
        """A token is asked for once, and again when it ends; another secret or scope has its own."""
        first = self.token()
        self.assertTrue(self.fake.knows(first, "https://service.example"))
        self.joined.clock.advance(3599 - MARGIN - 1)
        self.assertEqual((self.token(), len(self.fake.asked)), (first, 1))
        self.joined.clock.advance(1)
        self.assertNotEqual(self.token(), first)
        self.token(request=evolve(REQUEST, scope="https://other.example/.default"))
        self.assertEqual(len(self.fake.asked), 3)
        self.refused(self.guess(1))
        self.assertEqual(self.joined.clock.getDelayedCalls(), [], "nothing renews it on its own account")

    def test_one_request(self) -> None:
        """Who asks for the same token at the same time shares the request, and how it ends."""
        self.fake.script(EntraSilence())
        waiting = [self.joined.http.run(self.tokens.current(LOGIN, REQUEST)) for _ in range(3)]
        self.joined.http.advance(31)
        for each in waiting:
            self.failureResultOf(each, NotSent)
        self.assertEqual(len(self.fake.asked), 1)

    def test_one_that_hangs(self) -> None:
        """A request without an answer delays no other login, of the same tenant or another."""
        self.fake.script(EntraSilence())
        hangs = self.joined.http.run(self.tokens.current(self.guess(1), REQUEST))
        for login in (LOGIN, OTHER):
            self.assertTrue(self.joined.http.result(self.tokens.current(login, REQUEST)))
        self.assertNoResult(hangs)
        self.joined.http.advance(31)
        self.failureResultOf(hangs, NotSent)

    def test_guesses(self) -> None:
        """A tenant is asked only so often for secrets that are wrong; others are not held up by that."""
        self.token()
        for number in range(5 * REFUSALS):
            error = self.refused(self.guess(number))
            kind = Blocked if number < REFUSALS else Throttled
            self.assertIsInstance(error.outcome, kind, str(number))
        self.assertEqual(len(self.fake.asked), 1 + REFUSALS)
        self.token(OTHER)
        self.joined.clock.advance(3599)
        self.assertTrue(self.token(), "one that was right is asked for")
        for number in range(100, 100 + 2 * REFUSALS):
            self.refused(self.guess(number))
        self.assertEqual(len(self.fake.asked), 1 + REFUSALS + 1 + 1 + REFUSALS)

    def test_many_at_once(self) -> None:
        """As many guesses as arrive together are not more for Entra; who waits too long is told so."""
        self.fake.script(*[EntraSilence()] * 100)
        guesses = [self.joined.http.run(self.tokens.current(self.guess(n), REQUEST)) for n in range(100)]
        self.assertEqual(len(self.fake.asked), REFUSALS)
        self.joined.http.advance(10)
        for each in guesses[REFUSALS:]:
            error = self.failureResultOf(each, NotSent).value
            self.assertIsInstance(error.outcome, Deferred)
        self.joined.http.advance(21)
        self.assertEqual(len([each for each in guesses if each.called]), 100)
        for each in guesses[:REFUSALS]:
            self.failureResultOf(each)

    def test_an_outage_is_no_guess(self) -> None:
        """While Entra is away, or asks for less, nothing is counted, and the next login asks again."""
        self.joined.http.refuse = Refused()
        for number in range(2 * REFUSALS):
            self.assertIsInstance(self.refused(self.guess(number)).outcome, Deferred)
        self.joined.http.refuse = None
        self.fake.script(*[EntraRefuses(429, "invalid_request", 90055)] * REFUSALS)
        for _ in range(REFUSALS):
            self.assertIsInstance(self.refused(LOGIN).outcome, Throttled)
        self.assertTrue(self.token())

    def test_repeated(self) -> None:
        """A device that repeats an old secret costs one request a minute, and is told the same."""
        first = self.refused(self.guess(1))
        self.assertIsInstance(first, NoTokenError)
        self.assertEqual(first.code, "AADSTS7000215")
        self.joined.clock.advance(REPEATED - 1)
        self.assertEqual(str(self.refused(self.guess(1))), str(first))
        self.assertEqual(len(self.fake.asked), 1)
        self.joined.clock.advance(1)
        self.refused(self.guess(1))
        self.assertEqual(len(self.fake.asked), 2)

    def test_refused_later(self) -> None:
        """After a 401 there is one new token; a secret that was revoked counts as a guess from then on."""
        first = self.token()
        self.assertEqual(self.joined.http.result(self.tokens.again(LOGIN, REQUEST)), first)
        self.joined.clock.advance(RECENT)
        self.assertNotEqual(self.joined.http.result(self.tokens.again(LOGIN, REQUEST), 1), first)
        self.fake.application(TENANT, CLIENT).secrets.clear()
        self.joined.clock.advance(RECENT)
        for _ in range(2 * REFUSALS):
            with self.assertRaises(NoTokenError):
                self.joined.http.result(self.tokens.again(LOGIN, REQUEST), 1)
        self.assertLess(len(self.fake.asked), 2 + REFUSALS + 2)

    def test_no_secret_is_kept(self) -> None:
        """What it remembers has no secret."""
        self.token()
        self.refused(self.guess(1))
        self.assertNotIn(SECRET, repr(vars(self.tokens)))
        self.assertNotIn("guess", repr(vars(self.tokens)))
        self.assertNotIn(SECRET, repr(LOGIN))

    def test_after_a_while(self) -> None:
        """The tenant is asked again a minute after the first of many guesses."""
        for number in range(REFUSALS):
            self.refused(self.guess(number))
        self.assertIsInstance(self.refused(LOGIN).outcome, Throttled)
        self.joined.clock.advance(WINDOW)
        self.assertTrue(self.token())
