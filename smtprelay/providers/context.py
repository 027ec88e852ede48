"""
What the relay gives a provider to work with.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred

from smtprelay.azure.application import EntraApplication
from smtprelay.azure.login_tokens import LoginTokens
from smtprelay.azure.tokens import EntraTokens
from smtprelay.http.client import Http, open_http
from smtprelay.http.credentials import CredentialSource, StoredCredentials
from smtprelay.http.renewed import CredentialService, Renewed, TokenService, at_once
from smtprelay.interfaces import DeferToThread, Events, MimeWorker
from smtprelay.net.outbound import Outbound
from smtprelay.net.reachability import Reachability
from smtprelay.providers.call import Caller
from smtprelay.providers.signer import RuleKey
from smtprelay.settings.provider import RemoteProviderSettings

C = TypeVar("C")


@frozen(kw_only=True)
class ProviderContext:
    """
    What providers are built with.

    :ivar defer_to_thread: runs a function on one of the relay's threads.
    :ivar defer_to_own_thread: runs one that may hang on a thread of its own, which no stop waits for.
    :ivar mime: works on the content of mail.
    :ivar hostname: the relay's.
    :ivar open_http: makes the HTTP client of a provider.
    :ivar reachabilities: by the provider's name: whether it can be reached.
    :ivar renewed: by the provider's name: credentials that expire.
    :ivar kept: such credentials of the configuration before, of providers whose settings have not changed.
    :ivar dkim_keys: those that sign what the providers send.
    :ivar logins: the tokens of clients that log in at Entra.
    """

    reactor: Any
    events: Events
    defer_to_thread: DeferToThread
    defer_to_own_thread: DeferToThread
    mime: MimeWorker
    hostname: str
    open_http: Callable[..., Http] = open_http
    reachabilities: dict[str, Reachability] = field(factory=dict, init=False)
    renewed: dict[str, Renewed[Any]] = field(factory=dict, init=False)
    kept: dict[str, Renewed[Any]] = field(factory=dict, init=False)
    dkim_keys: list[RuleKey] = field(factory=list, init=False)
    _tokens: EntraTokens = field(init=False)
    logins: LoginTokens = field(init=False)

    @_tokens.default
    def _entra(self) -> EntraTokens:
        return EntraTokens(
            self.open_http,
            clock=self.reactor,
            events=self.events,
            defer_to_thread=self.defer_to_thread,
            defer_to_own_thread=self.defer_to_own_thread,
        )

    @logins.default
    def _logins(self) -> LoginTokens:
        return LoginTokens(self._tokens, self.reactor)

    def reachability(self, provider: str) -> Reachability:
        """Return what notes whether ``provider`` can be reached."""
        return self.reachabilities.setdefault(provider, Reachability(provider, self.reactor.seconds))

    def caller(
        self, provider: str, settings: RemoteProviderSettings, read_credentials: Callable[[], C]
    ) -> Caller[C]:
        """Return what sends the requests of ``provider``; ``read_credentials`` is called in a thread."""
        return self.caller_with(provider, settings, StoredCredentials(read_credentials, self.defer_to_thread))

    def caller_with(
        self, provider: str, settings: RemoteProviderSettings, source: CredentialSource[C]
    ) -> Caller[C]:
        """Return what sends the requests of ``provider``, with credentials of ``source``."""
        http = self.open_http(
            self.reactor,
            concurrency=settings.concurrency,
            timeout=settings.timeout,
            outbound=settings.outbound,
            reachability=self.reachability(provider),
        )
        return Caller(provider, http, source, clock=self.reactor, events=self.events)

    def renewing_caller(
        self, provider: str, settings: RemoteProviderSettings, service: CredentialService[C]
    ) -> tuple[Caller[C], Renewed[C]]:
        """Return what sends the requests of ``provider`` with credentials that expire, and the latter."""
        renewed = self._renewed(provider, settings, service, self.defer_to_own_thread)
        return self.caller_with(provider, settings, renewed), renewed

    def renewing_credential(
        self, provider: str, settings: RemoteProviderSettings, service: TokenService[C]
    ) -> Renewed[C]:
        """Return credentials that expire, and need no thread to be obtained."""
        return self._renewed(provider, settings, service, at_once)

    def entra_token(
        self, provider: str, settings: RemoteProviderSettings, application: EntraApplication, scope: str
    ) -> Renewed[str]:
        """Return the token of ``application`` for ``scope``: the same one for all providers that ask so."""
        outbound = evolve(settings.outbound, client_certificate=None)
        return self.token_source(provider, application, scope, outbound, settings.timeout)

    def token_source(
        self, user: str, application: EntraApplication, scope: str, outbound: Outbound, timeout: float
    ) -> Renewed[str]:
        """Return the same for ``user``, who is a provider or another one who asks for it, and closes it."""
        renewed = self.renewed[user] = self._tokens.source(
            user, application, scope, outbound=outbound, timeout=timeout
        )
        return renewed

    def _renewed(
        self,
        provider: str,
        settings: RemoteProviderSettings,
        service: CredentialService[C] | TokenService[C],
        defer: Callable[[Callable[[], Any]], Deferred[Any]],
    ) -> Renewed[C]:
        renewed = self.renewed[provider] = self.kept.get(provider) or Renewed(
            provider,
            service,
            clock=self.reactor,
            events=self.events,
            defer=defer,
            patience=settings.timeout,
        )
        return renewed
