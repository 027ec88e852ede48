"""
What the relay gives a provider to work with.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from attrs import field, frozen
from twisted.internet.defer import Deferred

from smtprelay.interfaces import DeferToThread, Events, MimeWorker
from smtprelay.net.reachability import Reachability
from smtprelay.providers.call import Caller
from smtprelay.providers.credentials import CredentialSource, StoredCredentials
from smtprelay.providers.http.client import Http, open_http
from smtprelay.providers.renewed import Credential, Renewed
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
    """

    reactor: Any
    events: Events
    defer_to_thread: DeferToThread
    defer_to_own_thread: DeferToThread
    mime: MimeWorker
    hostname: str
    open_http: Callable[..., Http] = open_http
    reachabilities: dict[str, Reachability] = field(factory=dict, init=False)

    def reachability(self, provider: str) -> Reachability:
        """Return what notes whether ``provider`` can be reached."""
        return self.reachabilities.setdefault(provider, Reachability(provider, self.reactor.seconds))

    def caller(
        self, provider: str, settings: RemoteProviderSettings, read_credentials: Callable[[], C]
    ) -> Caller[C]:
        """Return what sends the requests of ``provider``; its ``read_credentials`` is called in a thread."""
        return self._caller(provider, settings, StoredCredentials(read_credentials, self.defer_to_thread))

    def renewing_caller(
        self, provider: str, settings: RemoteProviderSettings, obtain: Callable[[], Credential[C]]
    ) -> tuple[Caller[C], Renewed[C]]:
        """Return the same for credentials that expire, and those; ``obtain`` is that of :class:`Renewed`."""
        renewed = Renewed(
            provider,
            obtain,
            clock=self.reactor,
            events=self.events,
            defer_to_thread=self.defer_to_own_thread,
            patience=settings.timeout,
        )
        return self._caller(provider, settings, renewed), renewed

    def renewing_credential(
        self,
        provider: str,
        settings: RemoteProviderSettings,
        obtain: Callable[[], Coroutine[Any, Any, Credential[C]]],
    ) -> Renewed[C]:
        """Return credentials that expire; ``obtain`` is that of :class:`Renewed`, but needs no thread."""
        return Renewed(
            provider,
            obtain,  # type: ignore[arg-type]  # what runs it returns what it is awaited for
            clock=self.reactor,
            events=self.events,
            defer_to_thread=lambda work, *arguments: Deferred.fromCoroutine(work(*arguments)),
            patience=settings.timeout,
        )

    def _caller(
        self, provider: str, settings: RemoteProviderSettings, source: CredentialSource[C]
    ) -> Caller[C]:
        http = self.open_http(
            self.reactor,
            concurrency=settings.concurrency,
            timeout=settings.timeout,
            outbound=settings.outbound,
            reachability=self.reachability(provider),
        )
        return Caller(provider, http, source, clock=self.reactor, events=self.events)
