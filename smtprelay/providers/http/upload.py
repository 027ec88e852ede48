"""
A request on its way out.

Whether the provider can have had a whole request is the question after a lost answer;
so this knows how far it has come. A small body leaves in one write with the head before it, a
large one in pieces, as the connection takes them.
"""

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from smtprelay.net.direct_write import DirectWriter

#: A body is written in pieces of this size.
PIECE: Final = 128 * 1024


@implementer(IPushProducer)
class Upload:
    """
    What a request carries; it may be nothing.

    :ivar at: called with ``connect`` and ``TLS`` for a new connection, and with ``request`` after each piece.
    :ivar sent: the last piece was handed to the connection. Before that the
        provider cannot have a whole request, so it cannot have acted on it.
    """

    def __init__(self, body: bytes, at: Callable[[str], object] = lambda _: None) -> None:
        self.at = at
        self.length = len(body)
        self.sent = False
        self._body = body
        self._at = 0
        self._paused = False
        self._transport: Any = None

    def begin(self, head: bytes, transport: Any) -> None:
        """Write ``head``, and the body behind it."""
        self._transport = transport
        DirectWriter(transport).write(head + self._next())
        self.at("request")
        if not self.sent:
            transport.registerProducer(self, True)
            self.resumeProducing()

    def resumeProducing(self) -> None:
        """Write on."""
        self._paused = False
        while not (self._paused or self.sent):
            self._transport.write(self._next())
            self.at("request")
        if self.sent:
            self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """Write no more for now."""
        self._paused = True

    def stopProducing(self) -> None:
        """Write no more at all: the connection has gone."""
        self._paused = True
        self._body = b""

    def _next(self) -> bytes:
        piece = self._body[self._at : self._at + PIECE]
        self._at += len(piece)
        self.sent = self._at == self.length
        return piece
