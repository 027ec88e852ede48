"""
What the relay gives a provider to work with.
"""

from typing import Any

from attrs import field, frozen

from smtprelay.interfaces import DeferToThread, Events, MimeWorker
from smtprelay.net.reachability import Reachability
from smtprelay.providers.http.client import Http, open_http
from smtprelay.settings.provider import HttpProviderSettings


@frozen(kw_only=True)
class ProviderContext:
    """
    What providers are built with.

    :ivar defer_to_thread: runs a function on one of the relay's threads.
    :ivar mime: works on the content of mail.
    :ivar hostname: the relay's.
    :ivar reachabilities: by the provider's name: whether it can be reached.
    """

    reactor: Any
    events: Events
    defer_to_thread: DeferToThread
    mime: MimeWorker
    hostname: str
    reachabilities: dict[str, Reachability] = field(factory=dict)

    def reachability(self, provider: str) -> Reachability:
        """Return what notes whether ``provider`` can be reached."""
        return self.reachabilities.setdefault(provider, Reachability(provider, self.reactor.seconds))

    def http(self, provider: str, settings: HttpProviderSettings) -> Http:
        """Return the HTTP client of ``provider``."""
        return open_http(
            self.reactor,
            concurrency=settings.concurrency,
            timeout=settings.timeout,
            ca=settings.ca or "",
            reachability=self.reachability(provider),
        )
