"""An HTTP proxy that opens tunnels (CONNECT) to servers of a test, or does what it is told to instead."""

import re
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from smtprelay.net.outbound import HttpProxy
from smtprelay.testing.certificates import Certificate
from tests.providers.http_wiring import Server

OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"


class ConnectProxy(Factory):
    """
    A proxy on a real socket, until the test ends.

    :param answer: what it says to CONNECT; a tunnel follows only if it begins with 200.
    :param act: what it does with its connection instead of an answer.
    :param tls: it is itself reached by TLS.
    :ivar asked: the header of each CONNECT.
    :ivar tunnels: by the port that is asked for: the port on this machine where the tunnel ends, whatever the
        host is; else it is the same.
    """

    noisy = False

    def __init__(
        self,
        test: TestCase,
        answer: bytes = OPEN,
        *,
        act: Callable[["ProxyConnection"], object] | None = None,
        tls: Certificate | None = None,
    ) -> None:
        self.answer = answer
        self.act = act
        self.asked: list[bytes] = []
        self.tunnels: dict[int, int] = {}
        server = Server(self)
        if tls is None:
            listening = reactor.listenTCP(0, server, interface="127.0.0.1")
        else:
            context = DefaultOpenSSLContextFactory(str(tls.key), str(tls.certificate))
            listening = reactor.listenSSL(0, server, context, interface="127.0.0.1")
        self.port = listening.getHost().port
        test.addCleanup(server.close)
        test.addCleanup(listening.stopListening)

    def proxy(self, **login: str) -> HttpProxy:
        """Return where it is."""
        return HttpProxy(host="127.0.0.1", port=self.port, **login)

    def buildProtocol(self, addr: object) -> "ProxyConnection":
        return ProxyConnection(self)


class ProxyConnection(Protocol):
    """A connection to the proxy, and its tunnel."""

    def __init__(self, proxy: ConnectProxy) -> None:
        self._proxy = proxy
        self._received = b""
        self._far: Any = None

    def dataReceived(self, data: bytes) -> None:
        if self._far is not None:
            self._far.transport.write(data)
            return
        self._received += data
        head, end, _ = self._received.partition(b"\r\n\r\n")
        if end:
            self._proxy.asked.append(head)
            self._answer(head)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._far is not None:
            self._far.transport.abortConnection()

    def _answer(self, head: bytes) -> None:
        proxy = self._proxy
        if proxy.act is not None:
            proxy.act(self)
        elif b" 200 " not in proxy.answer[:13]:
            self.transport.write(proxy.answer)
        else:
            port = int(re.match(rb"CONNECT \S+:(\d+) HTTP/1\.[01](?:\r\n|$)", head)[1])
            there = TCP4ClientEndpoint(reactor, "127.0.0.1", proxy.tunnels.get(port, port))
            connectProtocol(there, FarEnd(self)).addCallback(self._join)

    def _join(self, far: "FarEnd") -> None:
        self._far = far
        self.transport.write(self._proxy.answer)


class FarEnd(Protocol):
    """The other end of a tunnel."""

    def __init__(self, near: ProxyConnection) -> None:
        self._near = near

    def dataReceived(self, data: bytes) -> None:
        self._near.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._near.transport.loseConnection()
