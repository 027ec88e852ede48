"""
The body of a request on its way out.

Whether the provider can have had a whole request is the question after a lost answer;
so this knows how far it has come. A small body leaves in one write with the head before it, a
large one in pieces, as the connection takes them.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from smtprelay.net.direct_write import DirectWriter
from smtprelay.net.producer import PausingProducer

#: A body is written in pieces of this size.
PIECE: Final = 128 * 1024


class RequestBody(Protocol):
    """
    A body that is made while it is sent: no more than a piece of it is held.

    :class:`smtprelay.interfaces.Body` is one. Each request reads it from its beginning.
    """

    @property
    def size(self) -> int | None:
        """How many octets it has; ``None``: that shows at its end, so the request is chunked."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Give the body in pieces."""


class BodyError(Exception):
    """A body cannot be read, or is not as long as it said: the request is broken off."""


@implementer(IBodyProducer)
class Upload(PausingProducer):
    """
    What one request carries; it may be nothing.

    :ivar size: octets of the body; ``None``: it is chunked.
    :ivar at: called with ``connect`` and ``TLS`` for a new connection, and with ``request`` after each piece.
    :ivar sent: the last piece was handed to the connection. Before that the
        provider cannot have a whole request, so it cannot have acted on it.
    """

    def __init__(self, body: bytes | RequestBody, at: Callable[[str], object] = lambda _: None) -> None:
        self.at = at
        self.size = len(body) if isinstance(body, bytes) else body.size
        self.length: Any = UNKNOWN_LENGTH if self.size is None else self.size
        self.sent = False
        self._body = body
        self._stopped = False

    def begin(self, head: bytes, transport: Any) -> "Deferred[None] | None":
        """Write ``head``, and the body behind it; fires when all is written, ``None``: it is."""
        if isinstance(self._body, bytes) and len(self._body) <= PIECE:
            self.sent = True
            DirectWriter(transport).write(head + self._body)
            self.at("request")
            return None
        DirectWriter(transport).write(head)
        transport.registerProducer(self, True)
        done = self.startProducing(_ChunkWriter(transport) if self.size is None else transport)
        if self.size is None:
            done.addCallback(lambda _: transport.write(b"0\r\n\r\n"))
        return done.addCallback(lambda _: transport.unregisterProducer())

    def startProducing(self, consumer: Any) -> "Deferred[None]":
        """Write the body; fails with :class:`BodyError`, and never fires once it was stopped."""
        return Deferred.fromCoroutine(self._produce(consumer))

    def stopProducing(self) -> None:
        """Write no more at all: the connection has gone."""
        self._stopped = True
        self.resumeProducing()

    async def _produce(self, consumer: Any) -> None:
        written, body = 0, self._body
        try:
            async for piece in _slices(body) if isinstance(body, bytes) else body.chunks():
                await self.writable()
                if self._stopped:
                    await Deferred()
                written += len(piece)
                if self.size is not None and written > self.size:
                    break
                if piece:
                    consumer.write(piece)
                    self.sent = written == self.size
                    self.at("request")
        except Exception as error:
            raise BodyError(f"the body cannot be read: {type(error).__name__}: {error}") from error
        if self.size is None:
            self.sent = True
        elif written != self.size:
            raise BodyError(f"the body has not the {self.size} bytes that it said")


class _ChunkWriter:
    """Writes each piece as a chunk (RFC 9112 §7.1)."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def write(self, piece: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]
