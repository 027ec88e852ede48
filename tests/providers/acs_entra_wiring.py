"""
An :class:`Acs` that has its tokens from Entra, joined in memory with both fakes.
"""

from typing import Any

from twisted.internet.defer import Deferred

from smtprelay.interfaces import Attempt
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.message import Delivery
from smtprelay.providers.acs.kind import ACS
from smtprelay.testing.acs import FakeAcs
from smtprelay.testing.memory_http import MemoryHttp
from tests.azure.joined_entra import CLIENT, SECRET, TENANT, JoinedEntra
from tests.config.loading import load_text, with_provider
from tests.providers.acs_wiring import ENDPOINT, MAIL, delivery
from tests.providers.http_wiring import WiredHttp

RESOURCE = "https://communication.azure.com"
SETTINGS = (
    f"type: acs, endpoint: '{ENDPOINT}', sender: DoNotReply@mail.example.com,"
    " sender_domains: [mail.example.com]"
)
ENTRA = f"tenant: {TENANT}, client_id: {CLIENT}, client_secret: {{env: S}}"


class EntraAcs:
    """
    A provider as the configuration builds it, the service and Entra.

    :ivar entra: Entra, with the application, and the clock and events of all.
    :ivar joined: the service's side.
    """

    def __init__(self, settings: str = ENTRA) -> None:
        self.entra = JoinedEntra()
        self.fake = FakeAcs(self.entra.clock, ())
        self.fake.takes = lambda token: self.entra.fake.knows(token, RESOURCE)
        self.joined = WiredHttp.to(self.fake, self.entra.clock)
        self.joined.flush = self._flush
        self.settings: Any = load_text(
            with_provider(f"{SETTINGS}, {settings}"), {"S": SECRET}
        ).config.providers["more"]
        self.context = self.entra.context(open_http=self._open)
        self.provider = ACS.build("acs", self.settings, self.context)

    def start(self, item: Delivery | None = None) -> "Deferred[Any]":
        attempt = Attempt(item or delivery(), MemoryBody(MAIL), lambda: None)
        return self.joined.run(self.provider.deliver(attempt))

    def _open(self, *_: Any, concurrency: int, **__: Any) -> Any:
        """Return the client of the service, or, for one request, that of Entra."""
        return self.entra.http.http if concurrency == 1 else self.joined.http

    def _flush(self) -> None:
        for _ in range(3):
            self.entra.http.flush()
            self.joined.wire.settle()


def entra_leftovers(acs: EntraAcs) -> list[object]:
    """Return what is left of both sides after the provider was closed."""
    http: MemoryHttp = acs.entra.http
    # The configuration closes them, after its providers.
    for each in acs.context.renewed.values():
        acs.joined.run(each.close())
    return [each for each in (*acs.joined.leftovers(), *http.leftovers()) if each is not http.http]
