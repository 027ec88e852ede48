"""
Writes commands and replies at once, by one system call, where that is possible.

Twisted's transports wait for the socket to become writable, which for a few octets costs two more system
calls and a iteration of the reactor: a quarter of a small message's cost. The socket is almost always
writable.
"""

import socket

from twisted.internet.interfaces import ITransport
from twisted.internet.tcp import Connection


class DirectWriter:
    """
    Writes to ``transport``: through its socket as long as that takes everything, else through it.

    Only Twisted's own TCP connections are dealt with so; TLS, wrappers and the transports of tests are
    written to. Once the transport has something to keep, it stays in charge, so nothing overtakes.
    """

    __slots__ = ("_socket", "_transport")

    def __init__(self, transport: ITransport) -> None:
        self._transport = transport
        self._socket: socket.socket | None = None
        if isinstance(transport, Connection):
            self._socket = transport.getHandle()

    def write(self, octets: bytes) -> None:
        """Send ``octets``; what the kernel does not take now goes the usual way."""
        if self._socket is not None:
            try:
                sent = self._socket.send(octets)
            except OSError:
                # Full, or broken: the transport finds out which, and tells the reactor.
                sent = 0
            if sent == len(octets):
                return
            octets = octets[sent:]
            self._socket = None
        self._transport.write(octets)

    def through_transport(self) -> None:
        """Do not use the socket any more: TLS begins, or the connection ends."""
        self._socket = None
