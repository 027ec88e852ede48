"""
Server transports that read what has reached the socket, even when nothing can be written any more.

Twisted closes a connection at the first failed write, and drops received input that was not read yet. The
mail of a client that closes without reading the replies would be lost.
"""

from typing import TYPE_CHECKING, Any, Final

from twisted.internet import tcp, unix
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

if TYPE_CHECKING:
    _Connection = tcp.Connection
else:
    _Connection = object


class _ReadsToTheEnd(_Connection):
    """Reads buffered input before reporting the loss."""

    _read_paused = False
    _lost: Failure | None = None

    def pauseProducing(self) -> None:
        """Read nothing for a while."""
        self._read_paused = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """Read again."""
        self._read_paused = False
        super().resumeProducing()

    def readConnectionLost(self, reason: Failure) -> None:
        """Tell the protocol that the client says no more."""
        if self._lost is not None:
            self.connectionLost(reason)
        else:
            super().readConnectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        """Go on reading to the end if it was not there that the connection was lost; then end it."""
        if self._lost is None and reason.type is ConnectionLost and not self.disconnecting:
            self._lost = reason
            self._read_on()
        else:
            super().connectionLost(self._lost or reason)

    def _read_on(self) -> None:
        self._writeDisconnected = True
        self.dataBuffer = b""
        self._tempDataBuffer.clear()
        self._tempDataLen = self.offset = 0
        producer: Any = self.producer
        if producer is not None and self.producerPaused:
            self.producerPaused = False
            producer.resumeProducing()
        if not self._read_paused and self.connected:
            self.startReading()


class _TcpServer(_ReadsToTheEnd, tcp.Server):
    """Over TCP."""


class _UnixServer(_ReadsToTheEnd, unix.Server):
    """Over a UNIX socket."""


_SERVERS: Final[dict[type, type]] = {tcp.Server: _TcpServer, unix.Server: _UnixServer}


def read_to_the_end(port: Any) -> None:
    """Have connections that ``port`` accepts from now on read to their end; ports of other kinds stay."""
    kind: Any = getattr(port, "transport", None)
    port.transport = _SERVERS.get(kind, kind)
