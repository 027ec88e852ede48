"""An HTTP client joined in memory with a resource, by the agent that the product uses."""

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.web.resource import IResource
from twisted.web.server import Site
from zope.interface import implementer

from smtprelay.providers.http.client import Http
from smtprelay.providers.http.pool import LiteralAgent


class Transport(FakeTransport):
    """What iosim lacks for a server that aborts, and for a client that reads no more."""

    def resumeProducing(self) -> None:
        """Read on; iosim never stops."""

    def pauseProducing(self) -> None:
        """Read no more; iosim reads on."""


@implementer(IStreamClientEndpoint)
class Wire:
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
        client, server = factory.buildProtocol(None), self.server.buildProtocol(None)
        at_server, at_client = Transport(server, isServer=True), Transport(client, isServer=False)
        self.pumps.append(connect(server, at_server, client, at_client, clock=self.clock, greet=False))
        return succeed(client)

    def settle(self) -> None:
        """Carry everything that was written, on every connection, until nobody writes."""
        while sum(pump.flush() for pump in self.pumps):
            pass


class JoinedHttp:
    """A client, its clock, and the connections to the server it speaks to."""

    def __init__(self, server: Factory, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.wire = Wire(server, self.clock)
        self.asked: list[tuple[str, str, int]] = []
        agent = LiteralAgent(self._connect, self.clock, keep=2)
        self.http = Http(agent, self.clock, timeout=30, close=agent.close)

    @classmethod
    def to(cls, resource: IResource, clock: Clock | None = None) -> "JoinedHttp":
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

    def _connect(self, scheme: str, host: str, port: int) -> Wire:
        self.asked.append((scheme, host, port))
        return self.wire


class Server(WrappingFactory):
    """A factory for real sockets, whose connections a test can close and wait for that."""

    def __init__(self, wrapped: Factory) -> None:
        super().__init__(wrapped)
        self._closed: Deferred[None] | None = None

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        """Notice that the last connection has gone."""
        super().unregisterProtocol(p)
        if self._closed is not None and not self.protocols:
            self._closed.callback(None)

    def close(self) -> "Deferred[None]":
        """Close all connections; fires when they are gone."""
        if not self.protocols:
            return succeed(None)
        self._closed = Deferred()
        for connection in list(self.protocols):
            connection.transport.abortConnection()
        return self._closed
