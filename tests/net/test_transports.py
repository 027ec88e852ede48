"""Connections over real sockets whose client is gone before the server has read what it sent."""

import fcntl
import shutil
import socket
import struct
import tempfile
import termios

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from smtprelay.net.transports import read_to_the_end
from tests.process.program import eventually

#: What a kernel takes of a connection that nobody reads.
SENT = b"x" * 50_000
NO_LINGER = struct.pack("ii", 1, 0)


@implementer(IPushProducer)
class Reader(Protocol):
    """Reads nothing until it is told to; says what it has read when the connection is lost."""

    def __init__(self) -> None:
        self.made: Deferred[None] = Deferred()
        self.lost: Deferred[tuple[bytes, type]] = Deferred()
        self.told: list[str] = []
        self.read = b""

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        self.transport.pauseProducing()
        self.made.callback(None)

    def dataReceived(self, octets: bytes) -> None:
        self.read += octets

    def connectionLost(self, reason) -> None:
        self.lost.callback((self.read, reason.type))

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        """The end."""


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Reader):
    """Answers when the client says no more."""

    def readConnectionLost(self) -> None:
        self.transport.write(b"answer")
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        raise AssertionError("we never close one way")


def outstanding(client: socket.socket) -> int:
    """Return how many octets the other end's kernel has not acknowledged."""
    if client.family == socket.AF_UNIX:
        return 0
    (count,) = struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)))
    return count


class TransportTests(TestCase):
    async def served(self, endpoint: str, kind: type[Reader] = Reader) -> tuple[Reader, socket.socket]:
        """Return the server's end and the client's, which has sent everything."""
        reader = kind()
        factory = Factory()
        factory.buildProtocol = lambda _: reader
        port = await serverFromString(reactor, endpoint).listen(factory)
        self.addCleanup(port.stopListening)
        read_to_the_end(port)
        where = port.getHost()
        if hasattr(where, "port"):
            client = socket.create_connection(("127.0.0.1", where.port))
        else:
            client = socket.socket(socket.AF_UNIX)
            client.connect(where.name)
        self.addCleanup(client.close)
        await reader.made
        return reader, client

    async def test_a_write_that_fails(self) -> None:
        """What was received before is read, in its time, and only then is the connection lost."""
        await self.write_that_fails("tcp:0:interface=127.0.0.1")

    async def test_a_write_to_a_unix_socket(self) -> None:
        """So it is there."""
        folder = tempfile.mkdtemp(prefix="smtprelay-")
        self.addCleanup(shutil.rmtree, folder)
        await self.write_that_fails(f"unix:{folder}/s")

    async def write_that_fails(self, endpoint: str) -> None:
        reader, client = await self.served(endpoint)
        client.sendall(SENT)
        await eventually(lambda: not outstanding(client), "what was sent")
        if client.family == socket.AF_INET:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        client.close()
        reader.transport.write(b"y" * 1_000_000)
        await eventually(lambda: reader.told == ["pause", "resume"], "a write that fails")
        self.assertEqual((reader.read, reader.lost.called), (b"", False))
        reader.transport.write(b"nobody hears it")
        reader.transport.resumeProducing()
        read, reason = await reader.lost
        self.assertEqual((len(read), reason), (len(SENT), ConnectionLost))

    async def test_who_closes_is_not_read_on(self) -> None:
        """What we end ourselves, in order or at once, is over then."""
        for end in ("loseConnection", "abortConnection"):
            reader, client = await self.served("tcp:0:interface=127.0.0.1")
            client.sendall(SENT)
            reader.transport.unregisterProducer()
            getattr(reader.transport, end)()
            read, _ = await reader.lost
            self.assertEqual(read, b"")

    async def test_half_close(self) -> None:
        """The protocol hears of it; one that cannot is closed."""
        for kind, answer in ((HalfCloseable, b"answer"), (Reader, b"")):
            reader, client = await self.served("tcp:0:interface=127.0.0.1", kind)
            client.sendall(b"question")
            client.shutdown(socket.SHUT_WR)
            reader.transport.resumeProducing()
            self.assertEqual(await reader.lost, (b"question", ConnectionDone))
            self.assertEqual(client.recv(100), answer)

    def test_other_ports(self) -> None:
        """A port that accepts by means of its own stays as it is."""
        port = Reader()
        read_to_the_end(port)
        self.assertIsNone(port.transport)
