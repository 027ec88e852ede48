"""
An answer while it comes in, as the layers of Twisted and treq above an agent expect it.
"""

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface import implementer

#: Octets of a body that are given at once: of gzip they may become a thousand times as many.
_PIECE: Final = 1024
#: How a body ends that came whole.
DONE: Final = Failure(ResponseDone("the answer is complete"))


@implementer(IResponse)
class ReceivedResponse:
    """
    One answer.

    :ivar code: 0 until the headers are complete.
    :param lose: closes the connection that it comes from.
    """

    version = (b"HTTP", 1, 1)
    phrase = b""
    request = None
    previousResponse = None

    def __init__(self, lose: Callable[[], object]) -> None:
        self.code = 0
        self.headers = Headers()
        self.length: Any = UNKNOWN_LENGTH
        self._lose = lose
        self._kept: list[bytes] = []
        self._reader: IProtocol | None = None
        self._end: Failure | None = None
        self._is_read_out = False

    def deliverBody(self, protocol: IProtocol) -> None:
        """Give ``protocol`` the body: what is here at once, the rest as it comes."""
        self._reader = protocol
        # As in Twisted's own client, the response is the transport of its reader.
        protocol.makeConnection(self)  # type: ignore[arg-type]
        kept, self._kept = self._kept, []
        whole = all(self._give(protocol, piece) for piece in kept)
        if whole and self._end is not None:
            protocol.connectionLost(self._end)

    def loseConnection(self) -> None:
        """Read no more. If there is no more, the connection may long have begun something else."""
        self._is_read_out = True
        if self._end is None:
            self._lose()

    def receive(self, piece: bytes) -> None:
        """Take a piece of the body from the connection."""
        if self._reader is None:
            self._kept.append(piece)
        elif self._end is None:
            self._give(self._reader, piece)

    def end(self, reason: Failure) -> None:
        """Take note that nothing more will come: :data:`DONE`, or what cut the body off."""
        if self._end is None:
            self._end = reason
            if self._reader is not None:
                self._reader.connectionLost(reason)

    def _give(self, reader: IProtocol, piece: bytes) -> bool:
        try:
            for start in range(0, len(piece), _PIECE):
                if not self._is_read_out:
                    reader.dataReceived(piece[start : start + _PIECE])
        except ResponseFailed as exc:  # it says that it is gzip and is not
            self.loseConnection()
            self._end = Failure(exc)
            reader.connectionLost(self._end)
            return False
        return True

    def setPreviousResponse(self, response: Any) -> None:
        """Take note of the answer that led here."""
        self.previousResponse = response
