"""Tokens before the fake of Entra, joined in memory, and what tests of Entra share."""

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from smtprelay.azure.application import EntraApplication
from smtprelay.azure.tokens import EntraTokens
from smtprelay.http.client import NoAnswerError
from smtprelay.model.outcome import Outcome
from smtprelay.providers.context import ProviderContext
from smtprelay.testing.entra import FakeEntra
from smtprelay.testing.memory_http import MemoryHttp
from tests.recording import Recording

TENANT, CLIENT, SECRET = "contoso.com", "11111111-2222-3333-4444-555555555555", "s3cr3t~value"
SCOPE = "https://service.example/.default"


class JoinedEntra:
    """The fake, with one application, and the tokens of a configuration."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.fake = FakeEntra(self.clock)
        self.fake.application(TENANT, CLIENT).secrets[SECRET] = float("inf")
        self.http = MemoryHttp(self.fake, self.clock)
        self.events = Recording()
        self.secret = SECRET
        context = self.context()
        self.tokens = EntraTokens(
            context.open_http,
            clock=self.clock,
            events=self.events,
            defer_to_thread=context.defer_to_thread,
            defer_to_own_thread=context.defer_to_own_thread,
        )

    def context(self, **more: Any) -> ProviderContext:
        return self.http.context(events=self.events, **more)

    def application(self, **changed: Any) -> EntraApplication:
        given = {"tenant": TENANT, "client_id": CLIENT, "secret_place": "file s", "read_secret": self.read}
        return EntraApplication(**{**given, **changed})

    def read(self) -> str:
        return self.secret

    def token(self, source: Any) -> str:
        return self.http.result(source.current(), 1)

    def outcome(self, **changed: Any) -> Outcome:
        """Return what it means for the mail that there is no token."""
        source = self.tokens.source("acs", self.application(**changed), SCOPE)
        failed = self.http.run(source.current())
        found: list[Any] = []
        failed.addErrback(lambda failure: found.append(failure.value))
        ensureDeferred(source.close())
        assert isinstance(found[0], NoAnswerError), found
        return found[0].outcome

    def begin(self, source: Any) -> "Deferred[str]":
        return self.http.run(source.current())
