"""A :class:`Graph` joined in memory with the fakes of Graph and Entra."""

from collections.abc import Sequence
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock

from smtprelay.http.client import Http
from smtprelay.interfaces import Attempt
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import Results
from smtprelay.providers.outgoing import OutgoingProvider
from smtprelay.providers.registry import BUILT_IN
from smtprelay.settings.secret import fixed
from smtprelay.testing.entra import FakeEntra
from smtprelay.testing.graph import FakeGraph
from smtprelay.testing.memory_http import MemoryHttp
from smtprelay.testing.mime import InlineMimeWorker
from smtprelay.testing.provider_contract import delivery
from tests.azure.test_key_vault import ByHost
from tests.providers.http_wiring import WiredHttp
from tests.recording import Recording

NOW = 1_800_000_000.0
TENANT, CLIENT, SECRET = "contoso.com", "11111111-2222-3333-4444-555555555555", "s3cr3t~value"
GRAPH = "https://graph.microsoft.com"
ANN, BOB, CY = "ann@mail.example.com", "bob@example.net", "cy@example.net"
MAIL = (
    b"From: Ann <ann@mail.example.com>\r\nTo: Bob <bob@example.net>\r\nSubject: Hi\r\n"
    b"Date: Mon, 30 Nov 2026 08:44:25 +0000\r\nMessage-ID: <1@x.example>\r\n\r\nhello\r\n"
)


class JoinedGraph:
    """A provider, as the relay builds it, with the services that it speaks to, and the clock of all."""

    def __init__(
        self,
        clock: Clock | None = None,
        mailboxes: Sequence[str] = (ANN,),
        tables: Any = None,
        **settings: Any,
    ) -> None:
        if clock is None:
            clock = Clock()
            clock.advance(NOW)
        self.clock = clock
        self.entra = FakeEntra(self.clock)
        self.entra.application(TENANT, CLIENT).secrets[SECRET] = float("inf")
        self.fake = FakeGraph(self.clock, lambda token: self.entra.knows(token, GRAPH), mailboxes)
        self.tokens = MemoryHttp(self.entra if tables is None else ByHost(self.entra, tables), self.clock)
        self.joined = WiredHttp.to(self.fake, self.clock)
        self.events = Recording()
        kind = BUILT_IN["graph"]
        given = {
            "tenant": TENANT,
            "client_id": CLIENT,
            "client_secret": fixed(SECRET, "inline"),
            "authority": "http://127.0.0.1:8081",
            "endpoint": "http://127.0.0.1:8080",
        }
        self.settings = kind.settings(**{"type": "graph", "limits": kind.limits, **given, **settings})
        self.context = self.joined.context(events=self.events, open_http=self._open)
        self.graph: Any = kind.build("graph", self.settings, self.context)
        self.provider = OutgoingProvider(
            self.graph, InlineMimeWorker(), hostname="relay.example.com", bounces_from="bounces@example.com"
        )

    def deliver(
        self, *recipients: str, body: bytes = MAIL, sender: str = ANN, author: str = "", **more: Any
    ) -> Results:
        item = delivery(*(recipients or (BOB,)), sender=sender)
        lane = self.provider.lane(item.envelope, author or sender, "")
        item = evolve(item, lane=lane, author=author or sender, size=len(body), **more)
        return self.attempt(item, body)

    def attempt(self, item: Delivery, body: bytes) -> Results:
        return self.result(self.provider.deliver(Attempt(item, MemoryBody(body))))

    def result(self, coroutine: Any) -> Any:
        return self.joined.result(coroutine, 31)

    def leftovers(self) -> Sequence[object]:
        # The configuration closes them, after its providers.
        for each in self.context.renewed.values():
            self.result(each.close())
        return self.joined.leftovers()

    def _open(self, *_: Any, **given: Any) -> Http:
        return self.joined.http if "reachability" in given else self.tokens.http
