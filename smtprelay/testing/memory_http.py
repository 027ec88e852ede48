"""
An HTTP client that is joined in memory with a fake service, by the agent that the relay uses.
"""

from collections.abc import Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.web.resource import IResource
from twisted.web.server import Site
from zope.interface import implementer

from smtprelay.providers.context import ProviderContext
from smtprelay.providers.http.client import Http
from smtprelay.providers.http.pool import LiteralAgent
from smtprelay.testing.mime import InlineMimeWorker


class MemoryTransport(FakeTransport):
    """What iosim lacks for a server that aborts, and for a client that reads no more."""

    def resumeProducing(self) -> None:
        """Read on; iosim never stops."""

    def pauseProducing(self) -> None:
        """Read no more; iosim reads on."""


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """Joins clients with ``server``; ``refuse`` is what connecting fails with."""

    def __init__(self, server: Factory, clock: Clock) -> None:
        self.server = server
        self.clock = clock
        self.pumps: list[IOPump] = []
        self.refuse: Exception | None = None

    def connect(self, factory: IProtocolFactory) -> "Deferred[IProtocol]":
        """Connect at once."""
        if self.refuse is not None:
            return fail(self.refuse)
        nowhere: Any = None
        client, server = factory.buildProtocol(nowhere), self.server.buildProtocol(nowhere)
        assert client is not None
        at_server, at_client = MemoryTransport(server, isServer=True), MemoryTransport(client, isServer=False)
        self.pumps.append(connect(server, at_server, client, at_client, clock=self.clock, greet=False))
        return succeed(client)

    def settle(self) -> None:
        """Carry everything that was written, on every connection, until nobody writes."""
        while sum(pump.flush() for pump in self.pumps):
            pass


class MemoryHttp:
    """
    An HTTP client, its clock, and the connections to the server that it speaks to.

    :ivar http: the client.
    :ivar asked: scheme, host and port of each connection that was asked for.
    """

    def __init__(self, server: Any, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.wire = MemoryEndpoint(server, self.clock)
        self.asked: list[tuple[str, str, int]] = []
        agent = LiteralAgent(self._connect, self.clock, keep=2)
        self.http = Http(agent, self.clock, timeout=30, close=agent.close)

    @classmethod
    def to(cls, resource: IResource, clock: Clock | None = None) -> "MemoryHttp":
        """Join with a site of ``resource``."""
        clock = clock or Clock()
        return cls(Site(resource, timeout=None, reactor=clock), clock)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> "Deferred[Any]":
        """Begin, and carry what was written."""
        deferred = Deferred.fromCoroutine(coroutine)
        self.wire.settle()
        return deferred

    def advance(self, *seconds: float) -> None:
        """Let time pass in steps, and carry what was written after each."""
        for step in seconds:
            self.clock.advance(step)
            self.wire.settle()

    def result(self, coroutine: Coroutine[Any, Any, Any], *seconds: float) -> Any:
        """Return what ``coroutine`` returns, or raise what it raises; time passes while it waits."""
        done = self.run(coroutine)
        for step in seconds:
            if not done.called:
                self.advance(step)
        found: list[Any] = []
        done.addBoth(found.append)
        if not found:
            raise AssertionError(f"still waiting after {sum(seconds):g} s")
        if isinstance(found[0], Failure):
            found[0].raiseException()
        return found[0]

    def context(self, **more: Any) -> ProviderContext:
        """Return what a provider is built with, whose requests go to the server; ``more`` replaces parts."""
        given = {
            "reactor": self.clock,
            "events": lambda _event, /, **_fields: None,
            "defer_to_thread": execute,
            "mime": InlineMimeWorker(),
            "hostname": "relay.example.com",
            "open_http": lambda *_, **__: self.http,
        }
        return ProviderContext(**{**given, **more})

    def leftovers(self) -> Sequence[object]:
        """Return the delayed calls and the open connections."""
        clients = [pump.client for pump in self.wire.pumps if not pump.clientIO.disconnecting]
        return [*self.clock.getDelayedCalls(), *clients]

    def _connect(self, scheme: str, host: str, port: int) -> MemoryEndpoint:
        self.asked.append((scheme, host, port))
        return self.wire
