"""What a proxy says of its client, in whatever pieces it comes, and what else comes there."""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import address
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.net.proxy_protocol import PATIENCE, ProxyHeader, ProxyProtocol, read_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def block(command: int, family: int, content: bytes) -> bytes:
    """Return a header of version 2."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(content)) + content


def addresses(client: str, port: int, server: str = "") -> bytes:
    ours = server or ("192.0.2.1" if "." in client else "2001:db8::1")
    return ip_address(client).packed + ip_address(ours).packed + struct.pack("!HH", port, 25)


TLV = b"\x04\x00\x03abc" + b"\x20\x00\x00"
HEADERS = {
    b"PROXY TCP4 198.51.100.7 192.0.2.1 4321 25\r\n": ("198.51.100.7", 4321),
    b"PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n": ("2001:db8::7", 0),
    b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n": (
        "ffff:" * 7 + "ffff",
        65535,
    ),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN 1.2.3.4 whatever\r\n": None,
    block(0x21, 0x11, addresses("198.51.100.7", 4321)): ("198.51.100.7", 4321),
    block(0x21, 0x11, addresses("198.51.100.7", 4321) + TLV): ("198.51.100.7", 4321),
    block(0x21, 0x21, addresses("2001:db8::7", 1) + TLV * 100): ("2001:db8::7", 1),
    block(0x21, 0x00, b""): None,
    block(0x21, 0x31, b"/x".ljust(216, b"\0")): None,
    block(0x20, 0x00, b""): None,
    block(0x20, 0x11, addresses("198.51.100.7", 4321)): None,
}
WRONG = (
    b"EHLO client.test\r\n",
    b"proxy TCP4 198.51.100.7 192.0.2.1 4321 25\r\n",
    b"PROXY TCP4 198.51.100.7 192.0.2.1 4321 25\n" + b" " * 70,
    b"PROXY TCP4 198.51.100.7 192.0.2.1 4321 65536\r\n",
    b"PROXY TCP4 198.51.100.7 192.0.2.1 +1 25\r\n",
    b"PROXY TCP4 198.51.100.256 192.0.2.1 1 25\r\n",
    b"PROXY TCP4 198.51.100.07 192.0.2.1 1 25\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 1 25\r\n",
    b"PROXY TCP6 198.51.100.7 192.0.2.1 1 25\r\n",
    b"PROXY TCP4 198.51.100.7 192.0.2.1 1\r\n",
    b"PROXY TCP4  198.51.100.7 192.0.2.1 1 25\r\n",
    b"PROXY TCP4 a\0b 192.0.2.1 1 25\r\n",
    b"PROXY UDP4 198.51.100.7 192.0.2.1 1 25\r\n",
    b"PROXY \r\n",
    b"PROXY TCP4 " + b"1" * 200,
    block(0x11, 0x11, addresses("198.51.100.7", 4321)),
    block(0x22, 0x11, addresses("198.51.100.7", 4321)),
    block(0x21, 0x12, addresses("198.51.100.7", 4321)),
    block(0x21, 0x11, addresses("198.51.100.7", 4321)[:-1]),
    block(0x21, 0x21, addresses("198.51.100.7", 4321)),
    block(0x21, 0x11, b"x" * 4097),
)


class HeaderTests(SynchronousTestCase):
    def test_read(self):
        """A whole header says who the client is, whatever follows; a part of one says nothing yet."""
        for octets, client in HEADERS.items():
            found = client and (ip_address(client[0]), client[1])
            for behind in (b"", b"EHLO x\r\n", b"\r\n"):
                self.assertEqual(read_header(octets + behind), ProxyHeader(len(octets), found), octets)
            for length in range(1, len(octets)):
                self.assertIsNone(read_header(octets[:length]), octets[:length])

    def test_wrong(self):
        """Anything else is refused, and is not repeated."""
        for octets in WRONG:
            error = str(self.assertRaises(ValueError, read_header, octets))
            self.assertNotIn("198.51", error)

    @given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda octets: SIGNATURE + octets))
    def test_anything(self, octets: bytes):
        """Nothing breaks it, and it never wants more than a header can have."""
        try:
            found = read_header(octets)
        except ValueError:
            return
        if found is None:
            self.assertTrue(len(octets) < 107 or octets.startswith(SIGNATURE))
        else:
            self.assertLessEqual(found.length, len(octets))
            self.assertIsInstance(found.client[0] if found.client else None, IPv4Address | IPv6Address | None)


class Served(Protocol):
    def connectionMade(self):
        self.heard = b""
        self.transport.write(b"220 hello\r\n")

    def dataReceived(self, octets: bytes):
        self.heard += octets


class ProtocolTests(SynchronousTestCase):
    def connect(self, *trust: str) -> ProxyProtocol:
        self.clock, self.served, self.refused = Clock(), [], []
        self.transport = StringTransport(peerAddress=address.IPv4Address("TCP", "10.0.0.5", 1))
        trusted = trust or ("10.0.0.5",)
        protocol = ProxyProtocol(self.serve, trusted, self.clock, lambda *what: self.refused.append(what))
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        return protocol

    def serve(self, peer: object) -> Served:
        self.served.append(peer)
        return Served()

    def send(self, octets: bytes, step: int) -> None:
        """Send octets as a transport passes them on."""
        for at in range(0, len(octets), step):
            self.transport.protocol.dataReceived(octets[at : at + step])

    def test_in_any_pieces(self):
        """The server is asked, and greets, when the header is whole; it hears what follows, and no more."""
        for octets, client in HEADERS.items():
            for step in (1, 7, 10_000):
                self.connect()
                self.send(octets[:-1], step)
                self.assertEqual((self.served, self.transport.value()), ([], b""))
                self.send(octets[-1:] + b"EHLO x\r\n", step)
                [peer] = self.served
                self.assertEqual((peer.host, peer.port), client or ("10.0.0.5", 1))
                self.assertEqual(self.transport.getPeer(), peer)
                self.assertEqual(self.transport.value(), b"220 hello\r\n")
                self.assertEqual(self.transport.protocol.heard, b"EHLO x\r\n")
                self.assertEqual((self.clock.getDelayedCalls(), self.refused), ([], []))

    def assertRefused(self, rule: str) -> None:
        self.assertEqual([each[:2] for each in self.refused], [("10.0.0.5", rule)])
        self.assertEqual((self.served, self.transport.value()), ([], b""))
        self.assertTrue(self.transport.disconnected)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_others(self):
        """Who is no proxy is not read, whatever it says."""
        self.connect("10.0.0.6")
        self.assertRefused("proxy-trust")
        for octets in HEADERS:
            self.send(octets, 1000)
        self.assertRefused("proxy-trust")

    def test_wrong(self):
        """Without a header nobody is greeted, and what follows is not read."""
        for octets in WRONG:
            for step in (1, 10_000):
                self.connect()
                self.send(octets + next(iter(HEADERS)), step)
                self.assertRefused("proxy-header")

    def test_late(self):
        """It must come in time, however many octets of it come."""
        self.connect()
        self.send(b"PROXY ", 1)
        self.clock.advance(PATIENCE - 1)
        self.send(b"TCP4 ", 1)
        self.assertEqual(self.refused, [])
        self.clock.advance(1)
        self.assertRefused("proxy-header")

    def test_gone(self):
        """A connection that ends within a header is told; one without a word, a health check, is not."""
        for octets, told in ((b"", 0), (b"PROXY", 1)):
            protocol = self.connect()
            self.send(octets, 1)
            protocol.connectionLost()
            self.assertEqual((len(self.refused), self.clock.getDelayedCalls()), (told, []))

    def test_nobody_serves(self):
        """Where the server makes no protocol the connection is closed."""
        self.connect()
        self.serve = None
        self.transport.protocol._serve = lambda _peer: None
        self.send(b"PROXY UNKNOWN\r\n", 100)
        self.assertTrue(self.transport.disconnecting)
