"""Tokens for XOAUTH2: what is asked of the token endpoint, and what its answers mean for the mail."""

from typing import Any
from urllib.parse import parse_qs

import orjson
from twisted.internet.defer import ensureDeferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from smtprelay.http.client import NoAnswerError
from smtprelay.model.outcome import Blocked, Deferred, Outcome, Throttled
from smtprelay.providers.smarthost.kind import OauthSettings, SmarthostSettings, credential_source
from smtprelay.settings.secret import missing
from smtprelay.testing.memory_http import MemoryHttp
from tests.config.loading import load_text, with_provider
from tests.recording import Recording

ENTRA = "{tenant: contoso.com, client_id: app, client_secret: {env: S}}"
ENTRA_USER = "{tenant: contoso.com, client_id: app, refresh_token: {env: R}}"
GOOGLE = "{client_id: app, client_secret: {env: S}, refresh_token: {env: R}}"
OTHER = '{token_endpoint: "https://login.test/t", client_id: app, client_secret: {env: S}, scope: mail}'


class TokenEndpoint(Resource):
    """Gives ``answer`` with ``status``, and remembers what was asked, and where."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict[str, str]] = []
        self.urls: list[str] = []
        self.status = 200
        self.answer: Any = {"access_token": "t0", "expires_in": 3600}

    def render_POST(self, request: Request) -> bytes:
        """Answer a request for a token."""
        self.urls.append(f"{request.getRequestHostname().decode()}{request.path.decode()}")
        form = parse_qs(request.content.read().decode(), strict_parsing=True)
        self.asked.append({key: value for key, [value] in form.items()})
        request.setResponseCode(self.status)
        return self.answer if isinstance(self.answer, bytes) else orjson.dumps(self.answer)


class OAuthTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.endpoint = TokenEndpoint()
        self.http = MemoryHttp(self.endpoint)
        self.http.clock.advance(1_000_000)
        self.environ = {"S": "s3cret", "R": "r3fresh"}
        self.events = Recording()

    def source(self, oauth: str) -> Any:
        """Return what gives the tokens, as the configuration says."""
        text = f"type: smarthost, host: smtp.test, username: u@contoso.com, oauth: {oauth}"
        settings = load_text(with_provider(text), self.environ).config.providers["more"]
        source = credential_source("more", settings, self.http.context(events=self.events))
        self.addCleanup(lambda: ensureDeferred(source.close()))
        return source

    def token(self, oauth: str) -> str:
        return self.http.result(self.source(oauth).current(), 1)

    def refusal(self, oauth: str = ENTRA) -> Outcome:
        """Return what it means for the mail that there is no token."""
        with self.assertRaises(NoAnswerError) as raised:
            self.http.result(self.source(oauth).current(), 1, 30)
        return raised.exception.outcome

    def test_entra(self) -> None:
        """The application asks in its own name, or with the refresh token of the mailbox."""
        self.assertEqual([self.token(ENTRA), self.token(ENTRA_USER)], ["t0", "t0"])
        self.assertEqual(self.endpoint.urls, ["login.microsoftonline.com/contoso.com/oauth2/v2.0/token"] * 2)
        self.assertEqual(
            self.endpoint.asked,
            [
                {
                    "grant_type": "client_credentials",
                    "client_id": "app",
                    "client_secret": "s3cret",
                    "scope": "https://outlook.office365.com/.default",
                },
                {
                    "grant_type": "refresh_token",
                    "client_id": "app",
                    "refresh_token": "r3fresh",
                    "scope": "https://outlook.office365.com/SMTP.Send offline_access",
                },
            ],
        )

    def test_google(self) -> None:
        """Without a tenant it is Google, which keeps to the scope of the refresh token."""
        self.assertEqual(self.token(GOOGLE), "t0")
        self.assertEqual(self.endpoint.urls, ["oauth2.googleapis.com/token"])
        [asked] = self.endpoint.asked
        self.assertEqual((asked["grant_type"], asked["refresh_token"]), ("refresh_token", "r3fresh"))
        self.assertNotIn("scope", asked)

    def test_another_endpoint(self) -> None:
        """Any other endpoint is asked for the scope that is configured."""
        self.assertEqual(self.token(OTHER), "t0")
        self.assertEqual((self.endpoint.urls, self.endpoint.asked[0]["scope"]), (["login.test/t"], "mail"))

    def test_once_for_all_mail(self) -> None:
        """A token is kept, and obtained again after two thirds of its life."""
        source = self.source(ENTRA)
        for _ in range(3):
            self.assertEqual(self.http.result(source.current(), 1), "t0")
        self.assertEqual(len(self.endpoint.asked), 1)
        self.endpoint.answer = {"access_token": "t1", "expires_in": 3600}
        self.http.advance(2400)
        self.assertEqual(self.http.result(source.current(), 1), "t1")
        self.assertEqual(len(self.endpoint.asked), 2)

    def test_refresh_token_that_is_replaced(self) -> None:
        """The newest refresh token is used, until the configuration has another one."""
        source = self.source(GOOGLE)
        self.endpoint.answer = {"access_token": "t0", "expires_in": 30, "refresh_token": "r4fresh"}
        for _ in range(2):
            self.http.result(source.current(), 1)
            self.http.advance(31)
        self.assertEqual([each["refresh_token"] for each in self.endpoint.asked][:2], ["r3fresh", "r4fresh"])

    def test_refresh_token_that_is_empty(self) -> None:
        """An endpoint that names no other refresh token, but an empty one, means the one before."""
        source = self.source(GOOGLE)
        self.endpoint.answer = {"access_token": "t0", "expires_in": 30, "refresh_token": ""}
        for _ in range(2):
            self.http.result(source.current(), 1)
            self.http.advance(31)
        self.assertEqual([each["refresh_token"] for each in self.endpoint.asked][:2], ["r3fresh"] * 2)

    def test_refused(self) -> None:
        """What an operator must correct blocks, in the endpoint's words and without the secrets."""
        wrong = "client_secret is wrong: use the secret's value, not its id"
        for status, error, text, why in (
            (
                401,
                "invalid_client",
                "AADSTS7000215: Invalid client secret.",
                f"401 AADSTS7000215: Invalid client secret. ({wrong})",
            ),
            (400, "invalid_grant", "Token is\r\nrevoked.", "400 invalid_grant: Token is revoked."),
            (401, "invalid_client", "AADSTS1: New.\r\nTrace ID: 1", "401 AADSTS1: New. Trace ID: 1"),
        ):
            self.endpoint.status = status
            self.endpoint.answer = {"error": error, "error_description": text}
            outcome = self.refusal(GOOGLE)
            self.assertIsInstance(outcome, Blocked)
            self.assertEqual(outcome.why, f"no token: {why}")

    def test_no_answer(self) -> None:
        """An endpoint that is busy or cannot be reached defers: no mail was sent, and none is uncertain."""
        for status, answer, kind in (
            (503, b"<html>", Deferred),
            (429, {"error": "slow_down"}, Throttled),
            (400, {"error": "temporarily_unavailable"}, Deferred),
        ):
            self.endpoint.status, self.endpoint.answer = status, answer
            self.assertIsInstance(self.refusal(), kind, f"{status}")
        self.http.refuse = Refused()
        outcome = self.refusal()
        self.assertIsInstance(outcome, Deferred)
        self.assertIn("no token: connect at login.microsoftonline.com: connection refused", outcome.why)
        self.assertTrue(self.http.closed)

    def test_nonsense(self) -> None:
        """An answer that is no token is none; what could not stand in a login is none either."""
        for answer in (b"", b"[]", {}, {"access_token": 1}, {"access_token": "a\1b"}, {"access_token": ""}):
            self.endpoint.answer = answer
            self.assertIsInstance(self.refusal(), Blocked, answer)
        for seconds in ("soon", -5, 0, 1e300):
            self.endpoint.answer = {"access_token": "t", "expires_in": seconds}
            source = self.source(ENTRA)
            self.assertEqual(self.http.result(source.current(), 1), "t")
            self.assertEqual(self.events.of("credential.renewed")[-1]["seconds"], 3600.0)

    def test_secret_that_is_missing(self) -> None:
        """It blocks, and says where it should be; nothing is asked."""
        oauth = OauthSettings(client_id="app", tenant="t", client_secret=missing("file s", "file s: gone"))
        settings = SmarthostSettings(type="smarthost", host="h", oauth=oauth)
        source = credential_source("more", settings, self.http.context(events=self.events))
        with self.assertRaises(NoAnswerError) as raised:
            self.http.result(source.current(), 1)
        self.assertEqual(raised.exception.outcome, Blocked("file s: gone"))
        self.assertEqual(self.endpoint.asked, [])
