"""Replies over real sockets: at once, in order, and whole."""

import socket

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smtprelay.net.direct_write import DirectWriter


class Server(Protocol):
    def connectionMade(self):
        self.factory.connected.callback(self)

    def connectionLost(self, _reason: object):
        self.factory.gone.callback(None)


class Sockets(TestCase):
    async def connect(self) -> tuple[Server, socket.socket]:
        factory = Factory.forProtocol(Server)
        factory.noisy = False
        factory.connected = Deferred()
        factory.gone = Deferred()
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        client = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.addCleanup(client.close)
        return await factory.connected, client

    async def test_at_once(self):
        """What is written can be read before the reactor turns again."""
        server, client = await self.connect()
        DirectWriter(server.transport).write(b"250 Ok\r\n")
        client.settimeout(5)
        self.assertEqual(client.recv(100), b"250 Ok\r\n")
        server.transport.loseConnection()
        await server.factory.gone

    async def test_at_once_from_a_client(self):
        """A connection that we made is written to like one that we took."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            factory = Factory.forProtocol(Server)
            factory.noisy = False
            factory.connected, factory.gone = Deferred(), Deferred()
            endpoint = HostnameEndpoint(reactor, "127.0.0.1", listening.getsockname()[1])
            client = await endpoint.connect(factory)
            taken, _ = listening.accept()
        self.addCleanup(taken.close)
        DirectWriter(client.transport).write(b"QUIT\r\n")
        taken.settimeout(5)
        self.assertEqual(taken.recv(100), b"QUIT\r\n")
        client.transport.loseConnection()
        await factory.gone

    async def test_in_charge_of_the_transport(self):
        """Told to leave the socket alone, it waits for the transport's turn, as TLS needs it."""
        server, client = await self.connect()
        wire = DirectWriter(server.transport)
        wire.through_transport()
        wire.write(b"250 Ok\r\n")
        client.setblocking(False)
        self.assertRaises(BlockingIOError, client.recv, 100)
        server.transport.loseConnection()
        await server.factory.gone
        self.assertEqual(client.recv(100), b"250 Ok\r\n")

    async def test_more_than_the_socket_takes(self):
        """What the socket does not take goes through the transport, all of it and in order."""
        server, client = await self.connect()
        wire = DirectWriter(server.transport)
        pieces = [b"%08d" % number * 8192 for number in range(200)]
        for piece in pieces:
            wire.write(piece)
        # Now the socket has room again, and the transport has not yet used it.
        first = b"".join(client.recv(65_536) for _ in range(40))
        wire.write(b"last")
        server.transport.loseConnection()

        def read() -> bytes:
            return b"".join(iter(lambda: client.recv(65_536), b""))

        self.assertEqual(first + await deferToThread(read), b"".join(pieces) + b"last")
        await server.factory.gone

    async def test_client_gone(self):
        """Writing to a client that has gone raises nothing; the transport finds out."""
        server, client = await self.connect()
        wire = DirectWriter(server.transport)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        for _ in range(3):
            wire.write(b"250 Ok\r\n")
        await server.factory.gone
        self.assertFalse(server.transport.connected)


class OtherTransports(SynchronousTestCase):
    def test_written_to(self):
        """A transport that is not Twisted's own TCP connection is written to."""
        transport = StringTransport()
        DirectWriter(transport).write(b"250 Ok\r\n")
        self.assertEqual(transport.value(), b"250 Ok\r\n")
