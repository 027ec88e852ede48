"""The endpoint of a proxy: what it sends, and how long it waits, in memory."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import AccumulatingProtocol, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.net.http_proxy import ProxyEndpoint, ProxyError
from smtprelay.net.outbound import HttpProxy

PROXY = HttpProxy(host="2001:db8::1", port=3128, user="u", password="hunter2")


class Place:
    """An endpoint that connects to a transport in memory, or never."""

    def __init__(self, *, connects: bool = True) -> None:
        self.connects = connects
        self.transport = StringTransport()

    def connect(self, factory: IProtocolFactory) -> "Deferred[object]":
        if not self.connects:
            return Deferred()
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(self.transport)
        self.protocol = protocol
        return succeed(protocol)


class EndpointTests(SynchronousTestCase):
    def connect(self, place: Place) -> "Deferred[object]":
        self.clock = Clock()
        self.factory = Factory.forProtocol(AccumulatingProtocol)
        self.factory.protocolConnectionMade = None
        endpoint = ProxyEndpoint(place, PROXY, "[2001:db8::2]:443", self.clock, 30.0)
        return endpoint.connect(self.factory)

    def test_request(self) -> None:
        """The request names the target, with the port; the login is Basic."""
        place = Place()
        self.connect(place)
        self.assertEqual(
            place.transport.value(),
            b"CONNECT [2001:db8::2]:443 HTTP/1.1\r\nHost: [2001:db8::2]:443\r\n"
            b"Proxy-Authorization: Basic dTpodW50ZXIy\r\n\r\n",
        )

    def test_octet_by_octet(self) -> None:
        """However the answer is cut, what follows its header is the tunnel's, and nothing before."""
        place = Place()
        connected = self.connect(place)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
        for octet in answer:
            self.assertNoResult(connected)
            place.protocol.dataReceived(bytes([octet]))
        protocol = self.successResultOf(connected)
        self.assertEqual((protocol.made, protocol.data), (1, b""))
        place.protocol.dataReceived(b"hello")
        self.assertEqual(protocol.data, b"hello")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_at_once(self) -> None:
        """What comes in one piece with the header is not lost."""
        place = Place()
        connected = self.connect(place)
        place.protocol.dataReceived(b"HTTP/1.1 200\r\n\r\nhello")
        self.assertEqual(self.successResultOf(connected).data, b"hello")

    def test_timeout(self) -> None:
        """It waits for the connection and the answer together, and closes then."""
        for connects, why in (
            (False, "no connection to the proxy [2001:db8::1]:3128 within 30 s"),
            (True, "no answer to CONNECT of the proxy [2001:db8::1]:3128 within 30 s"),
        ):
            place = Place(connects=connects)
            connected = self.connect(place)
            self.clock.advance(29.9)
            self.assertNoResult(connected)
            self.clock.advance(0.1)
            self.assertEqual(str(self.failureResultOf(connected, ProxyError).value), why)
            self.assertEqual(place.transport.disconnected, connects)
