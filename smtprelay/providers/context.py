"""
What the relay gives a provider to work with.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred

from smtprelay.azure.application import EntraApplication
from smtprelay.azure.clouds import COSMOS, STORAGE, scope
from smtprelay.azure.login_tokens import LoginTokens
from smtprelay.azure.table_rows import TableReader, TableSource
from smtprelay.azure.tables import (
    AccountKey,
    AzureTable,
    Row,
    SharedAccessSignature,
    TableCredential,
    TableToken,
)
from smtprelay.azure.tokens import EntraTokens
from smtprelay.http.client import Http, open_http
from smtprelay.http.credentials import CredentialSource, MappedSource, StoredCredentials
from smtprelay.http.renewed import CredentialService, Renewed, TokenService, at_once
from smtprelay.interfaces import DeferToThread, Events, MimeWorker
from smtprelay.net.outbound import Outbound
from smtprelay.net.reachability import Reachability
from smtprelay.providers.call import Caller
from smtprelay.providers.signer import MailSigner
from smtprelay.settings.azure_table import AzureTableSettings
from smtprelay.settings.provider import RemoteProviderSettings

C = TypeVar("C")
T = TypeVar("T")


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
    :ivar signers: what signs that which the providers send.
    :ivar tables: what is read of Azure tables, by what their settings are the same as.
    :ivar failure_copies: by the provider's name: who gets copies of reports, by domain, if a table says so.
    :ivar kept_tables: all ``tables`` of that configuration.
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
    signers: list[MailSigner] = field(factory=list, init=False)
    tables: dict[Hashable, TableSource[Any]] = field(factory=dict, init=False)
    failure_copies: dict[str, Mapping[str, str]] = field(factory=dict, init=False)
    kept_tables: dict[Hashable, TableSource[Any]] = field(factory=dict, init=False)
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

    def table_source(
        self, user: str, settings: AzureTableSettings, make: Callable[[Sequence[Row]], Awaitable[T]]
    ) -> TableSource[T]:
        """Return what ``make`` makes of the rows of a table; that of the configuration before is kept."""
        same = settings.same_as
        source = self.tables[same] = self.kept_tables.get(same) or self._new_table(user, settings, make)
        # No name of a provider has a blank.
        number = len(self.tables)
        self.renewed[f"table {number}"] = source.latest
        if source.token is not None:
            self.renewed[f"token {number}"] = source.token
        return source

    def _new_table(
        self, user: str, settings: AzureTableSettings, make: Callable[[Sequence[Row]], Awaitable[T]]
    ) -> TableSource[T]:
        outbound, timeout, reactor = settings.outbound, settings.timeout, self.reactor
        key, sas, reader = settings.key, settings.sas, settings.reader
        token: Renewed[str] | None = None
        credentials: CredentialSource[TableCredential]
        if reader is not None:
            service = scope(COSMOS if ".cosmos.azure." in settings.url else STORAGE)
            application = reader.application
            token = self._tokens.source(user, application, service, outbound=outbound, timeout=timeout)
            credentials = MappedSource(token, TableToken)
        elif key is not None:
            credentials = StoredCredentials(lambda: AccountKey(key.reveal()), self.defer_to_thread)
        else:
            assert sas is not None
            credentials = StoredCredentials(lambda: SharedAccessSignature(sas.reveal()), self.defer_to_thread)
        table = AzureTable(
            settings.url,
            credentials,
            lambda: self.open_http(reactor, concurrency=1, timeout=timeout, outbound=outbound),
            reactor.seconds,
        )
        rows = TableReader(table, settings.partition, make, reactor.seconds, settings.refresh)
        latest: Renewed[T] = Renewed(
            user, rows, clock=reactor, events=self.events, defer=at_once, patience=timeout
        )
        return TableSource(latest, rows, token)

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
