"""A server on a real socket, whose connections a test can close."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory


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
