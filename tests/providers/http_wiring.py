"""Servers that the agent of the relay speaks to: on a real socket, or joined with it in memory."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.trial.unittest import TestCase
from twisted.web.resource import IResource
from twisted.web.server import Site
from zope.interface import implementer

from smtprelay.http.client import literal_http
from smtprelay.http.pool import LiteralAgent
from smtprelay.testing.memory_http import MemoryHttp


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


def served(test: TestCase, resource: IResource) -> int:
    """Serve ``resource`` on a real socket until the test ends; return its port."""
    from twisted.internet import reactor  # noqa: PLC0415 -- most users of this module need none

    server = Server(Site(resource))
    port = reactor.listenTCP(0, server, interface="127.0.0.1")
    test.addCleanup(server.close)
    test.addCleanup(port.stopListening)
    return port.getHost().port


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


class WiredHttp(MemoryHttp):
    """
    The same over the agent of the relay, and its connections to the server that it speaks to.

    For what treq's agent cannot show: connections, how they end, and targets that begin with ``//``, which
    Twisted's agent doubles on some Python versions.

    :ivar asked: scheme, host and port of each connection that was asked for.
    """

    def __init__(self, server: Factory, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.wire = MemoryEndpoint(server, self.clock)
        self.flush = self.wire.settle
        self.asked: list[tuple[str, str, int]] = []
        self.http = literal_http(LiteralAgent(self._connect, self.clock, keep=2), self.clock, timeout=30)

    @classmethod
    def to(cls, resource: IResource, clock: Clock | None = None) -> "WiredHttp":
        """Join with a site of ``resource``."""
        clock = clock or Clock()
        return cls(Site(resource, timeout=None, reactor=clock), clock)

    def leftovers(self) -> Sequence[object]:
        """Return the delayed calls and the open connections."""
        clients = [pump.client for pump in self.wire.pumps if not pump.clientIO.disconnecting]
        return [*self.clock.getDelayedCalls(), *clients]

    def _connect(self, scheme: str, host: str, port: int) -> MemoryEndpoint:
        self.asked.append((scheme, host, port))
        return self.wire
