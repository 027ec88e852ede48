"""
Answers that are too long for memory: each piece is written when the client has read the one before.
"""

from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.server import Request

from smtprelay.net.producer import PausingProducer


async def begun(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Return ``pieces`` when the first one is there; until then an error can still be the answer."""
    return _behind(await anext(pieces, b""), pieces)


async def _behind(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece


class StreamWriter(PausingProducer):
    """Writes to a request no faster than its client reads."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._gone = False
        request.registerProducer(self, True)

    async def send(self, pieces: AsyncIterator[bytes]) -> bool:
        """Write all of ``pieces``; return ``False`` if the client disconnected. Raises what they raise."""
        try:
            async for piece in pieces:
                await self.writable()
                if self._gone:
                    return False
                self._request.write(piece)
        finally:
            if not self._gone:
                self._request.unregisterProducer()
        return True

    def stopProducing(self) -> None:
        """Stop: the client has disconnected."""
        self._gone = True
        self.resumeProducing()


class BodyReader(Protocol):
    """Reads the body of another server's answer, as fast as it is consumed."""

    transport: Any

    def __init__(self) -> None:
        self._arrived: list[bytes] = []
        self._end: Failure | None = None
        self._arrival: Deferred[None] = Deferred()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give what arrives; raises the error that ends it early."""
        try:
            while self._arrived or self._end is None:
                if not self._arrived:
                    self._arrival = Deferred()
                    self.transport.resumeProducing()
                    await self._arrival
                arrived, self._arrived = self._arrived, []
                for piece in arrived:
                    yield piece
            if not self._end.check(ResponseDone):
                self._end.raiseException()
        finally:
            if self._end is None:
                self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Keep it until it is consumed."""
        self._arrived.append(data)
        self.transport.pauseProducing()
        self._tell()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Record how it ended."""
        self._end = reason
        self._tell()

    def _tell(self) -> None:
        if not self._arrival.called:
            self._arrival.callback(None)
