"""
The PROXY protocol, versions 1 and 2: who the client of a proxy is, before anything else is said.

Twisted's own wrapper lets the server greet before the header has come, takes a header from anybody, and none
that comes in small segments. Here the server is asked for a protocol only when the header is complete; that
protocol then has the transport for itself. See https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt.
"""

import re
import struct
from collections.abc import Callable, Container
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from attrs import frozen
from twisted.internet import address
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

#: Seconds in which the header must come.
PATIENCE: Final = 10.0
#: Octets of a line of version 1, with its CRLF.
_LONGEST_LINE: Final = 107
#: Octets that may follow the head of version 2: addresses, and what else a proxy says of its client (TLV).
_LONGEST_BLOCK: Final = 4096

_LINE: Final = re.compile(
    rb"PROXY (?:UNKNOWN(?: [ -~]*)?|TCP([46]) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) (\d{1,5}) (\d{1,5}))"
)
_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
#: Signature, version and command, family and transport, length of what follows.
_HEAD: Final = struct.Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
#: By family and transport, the octets of one address; other kinds do not tell who the client is.
_ADDRESSES: Final = {0x11: 4, 0x21: 16}
#: Nobody knows, or UNIX sockets.
_UNKNOWN: Final = frozenset({0x00, 0x31})
_LARGEST_PORT: Final = 0xFFFF
_MALFORMED: Final = "a PROXY header that is not well formed"


@frozen
class ProxyHeader:
    """
    What a proxy says of its client.

    :ivar length: octets of the header.
    :ivar client: ``None``: it speaks for itself, or does not know.
    """

    length: int
    client: tuple[IPv4Address | IPv6Address, int] | None = None


def read_header(octets: bytes) -> ProxyHeader | None:
    """
    Return the header that ``octets`` begin with; ``None``: more of it must come.

    :raises ValueError: it is none; what was received is not in the error.
    """
    if octets[: len(_SIGNATURE)] == _SIGNATURE[: len(octets)]:
        return _read_block(octets) if len(octets) >= _HEAD.size else None
    end = octets.find(b"\r\n", 0, _LONGEST_LINE)
    if b"PROXY "[: len(octets)] != octets[:6] or (end < 0 and len(octets) >= _LONGEST_LINE):
        raise ValueError("no PROXY header")
    return _read_line(octets[:end]) if end >= 0 else None


def _read_line(line: bytes) -> ProxyHeader:
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError(_MALFORMED)
    length = len(line) + 2
    if found[1] is None:
        return ProxyHeader(length)
    try:
        kind = IPv4Address if found[1] == b"4" else IPv6Address
        client, _ = (kind(each.decode()) for each in found.group(2, 3))
    except ValueError:
        raise ValueError(_MALFORMED) from None
    ports = [int(port) for port in found.group(4, 5)]
    if max(ports) > _LARGEST_PORT:
        raise ValueError(_MALFORMED)
    return ProxyHeader(length, (client, ports[0]))


def _read_block(octets: bytes) -> ProxyHeader | None:
    _, command, family, size = _HEAD.unpack_from(octets)
    if command not in (_LOCAL, _PROXY) or size > _LONGEST_BLOCK:
        raise ValueError("a PROXY header of an unknown version, or too long")
    length = _HEAD.size + size
    if len(octets) < length:
        return None
    if command == _LOCAL or family in _UNKNOWN:
        return ProxyHeader(length)
    width = _ADDRESSES.get(family, 0)
    if not width or size < 2 * width + 4:
        raise ValueError("a PROXY header for another protocol, or cut off")
    client = ip_address(octets[_HEAD.size : _HEAD.size + width])
    [port] = struct.unpack_from("!H", octets, _HEAD.size + 2 * width)
    return ProxyHeader(length, (client, port))


class ProxyProtocol(Protocol):
    """
    Reads the header, then gives the transport, which knows the real client from then on, to another protocol.

    :param serve: makes that protocol.
    :param trust: the addresses of proxies; connections from elsewhere are closed unread.
    :param refused: called with the address of the other end, a rule and a text when there is no such header.
    """

    transport: Any

    def __init__(
        self,
        serve: Callable[[IAddress | None], Protocol | None],
        trust: Container[str],
        clock: IReactorTime,
        refused: Callable[[str, str, str], None],
    ) -> None:
        self._serve = serve
        self._trust = trust
        self._clock = clock
        self._refused = refused
        self._octets = b""

    def connectionMade(self) -> None:
        """Wait for the header, if it comes from a proxy."""
        self._proxy = getattr(self.transport.getPeer(), "host", "unix")
        self._deadline = self._clock.callLater(PATIENCE, self._expired)
        if self._proxy not in self._trust:
            self._refuse("proxy-trust", f"{self._proxy} is not one of the proxies")

    def dataReceived(self, octets: bytes) -> None:
        """Read the header; what follows it is for the other protocol."""
        if not self._deadline.active():
            return
        self._octets += octets
        try:
            header = read_header(self._octets)
        except ValueError as error:
            self._refuse("proxy-header", str(error))
            return
        if header is not None:
            self._deadline.cancel()
            self._begin(header)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 -- Protocol's
        """Wait no longer; a health check may go without a word."""
        if self._deadline.active():
            self._deadline.cancel()
            if self._octets:
                self._refused(self._proxy, "proxy-header", "a PROXY header that has no end")

    def _begin(self, header: ProxyHeader) -> None:
        transport = self.transport
        if header.client is not None:
            client, port = header.client
            kind = address.IPv4Address if client.version == 4 else address.IPv6Address  # noqa: PLR2004
            peer = kind("TCP", str(client), port)
            transport.getPeer = lambda: peer
        protocol = self._serve(transport.getPeer())
        if protocol is None:
            transport.loseConnection()
            return
        transport.protocol = protocol
        protocol.makeConnection(transport)
        if rest := self._octets[header.length :]:
            protocol.dataReceived(rest)

    def _expired(self) -> None:
        self._refuse("proxy-header", "no PROXY header within ten seconds")

    def _refuse(self, rule: str, text: str) -> None:
        if self._deadline.active():
            self._deadline.cancel()
        self._refused(self._proxy, rule, text)
        self.transport.abortConnection()
