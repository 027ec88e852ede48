from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.error import SchemeNotSupported
from twisted.web.resource import Resource
from twisted.web.server import Site

from smtprelay.http.client import (
    MAX_ANSWER,
    AnswerLost,
    NoAnswerError,
    NotSent,
    open_http,
)
from smtprelay.net.connect import connect_by_name
from smtprelay.net.outbound import Outbound
from smtprelay.testing.certificates import make_certificate
from tests.providers.http_wiring import Server, WiredHttp


class Echo(Resource):
    """Answers with the raw target, the host and the body's size."""

    isLeaf = True

    def render(self, request: object) -> bytes:
        request.setResponseCode(202)
        request.setHeader("X-Size", str(len(request.content.read())))
        return request.uri + b" " + (request.getHeader(b"host") or b"")


class Raw(Protocol):
    """Keeps what it is sent, answers ``answer`` at the first bytes, and then closes if it ``closes``."""

    def dataReceived(self, data: bytes) -> None:
        first = not self.factory.received
        self.factory.received.append(data)
        if first:
            self.transport.write(self.factory.answer)
            if self.factory.closes:
                self.transport.loseConnection()


def raw(answer: bytes = b"", *, closes: bool = False) -> Factory:
    factory = Factory.forProtocol(Raw)
    factory.answer, factory.closes, factory.received = answer, closes, []
    return factory


URL = "https://acs.example.com/emails:send?api-version=1"


class RequestTests(SynchronousTestCase):
    def test_target_is_literal(self):
        """The target and the host arrive byte for byte as the URL spells them."""
        for target in ("//emails/x?a=b", "/%27%2F'(),:@$+?q=%2B+~", "/", "/a//b/../c?"):
            with self.subTest(target):
                joined = WiredHttp.to(Echo())
                url = "https://h.example.com:8443" + target
                answer = self.successResultOf(joined.run(joined.http.request("POST", url, {}, b"x")))
                self.assertEqual(answer.body, f"{target} h.example.com:8443".encode())
                self.assertEqual(joined.asked, [("https", "h.example.com", 8443)])

    def test_answer(self):
        """Status, headers and body come back; a header that is missing is empty."""
        joined = WiredHttp.to(Echo())
        request = joined.http.request("POST", URL, {"Host": "other"}, b"12345")
        answer = self.successResultOf(joined.run(request))
        self.assertEqual((answer.status, answer.header("x-size"), answer.complete), (202, "5", True))
        self.assertEqual(answer.body, b"/emails:send?api-version=1 other")
        self.assertEqual(answer.header("X-None"), "")

    def test_connection_is_kept(self):
        """The second request takes the connection of the first."""
        joined = WiredHttp.to(Echo())
        for _ in range(2):
            self.successResultOf(joined.run(joined.http.request("POST", URL, {}, b"x")))
        self.assertEqual(len(joined.wire.pumps), 1)

    def test_cookies_are_not_kept(self):
        """What a server wants to be reminded of is not sent back to it."""

        class Baker(Resource):
            isLeaf = True

            def render(self, request: object) -> bytes:
                request.addCookie("session", "1")
                return b"%r" % request.getHeader("cookie")

        joined = WiredHttp.to(Baker())
        answers = [self.successResultOf(joined.run(joined.http.request("GET", URL, {}))) for _ in range(2)]
        self.assertEqual([answer.body for answer in answers], [b"None", b"None"])

    def test_redirect_is_an_answer(self):
        """A redirect is not followed."""
        joined = WiredHttp(raw(b"HTTP/1.1 302 F\r\nLocation: http://evil/\r\nContent-Length: 0\r\n\r\n"))
        answer = self.successResultOf(joined.run(joined.http.request("GET", URL, {})))
        self.assertEqual((answer.status, answer.header("Location")), (302, "http://evil/"))

    def test_large_body(self):
        """A body of many pieces arrives whole."""
        joined = WiredHttp.to(Echo())
        answer = self.successResultOf(joined.run(joined.http.request("POST", URL, {}, b"x" * 1_000_001)))
        self.assertEqual(answer.header("x-size"), "1000001")

    def test_large_answer_is_cut(self):
        """Of an endless answer only the beginning is read, and the connection is closed."""
        joined = WiredHttp(raw(b"HTTP/1.1 500 F\r\n\r\n" + b"x" * (MAX_ANSWER + 5)))
        answer = self.successResultOf(joined.run(joined.http.request("POST", URL, {}, b"x")))
        self.assertEqual((answer.status, len(answer.body), answer.complete), (500, MAX_ANSWER, False))
        self.assertTrue(joined.wire.pumps[0].clientIO.disconnecting)

    def test_cut_answer_is_an_answer(self):
        """A status that arrived counts, even if the rest of the answer is lost."""
        joined = WiredHttp(raw(b"HTTP/1.1 202 A\r\nContent-Length: 9\r\n\r\nab", closes=True))
        answer = self.successResultOf(joined.run(joined.http.request("POST", URL, {}, b"x")))
        self.assertEqual((answer.status, answer.body, answer.complete), (202, b"ab", False))

    def test_slow_answer_is_an_answer(self):
        """So it does if the rest does not come in time."""
        joined = WiredHttp(raw(b"HTTP/1.1 202 A\r\nContent-Length: 9\r\n\r\nab"))
        answer = joined.run(joined.http.request("POST", URL, {}, b"x"))
        self.assertNoResult(answer)
        joined.advance(30)
        self.assertFalse(self.successResultOf(answer).complete)


class FailureTests(SynchronousTestCase):
    def failed(self, joined: WiredHttp, request: "Deferred[object]") -> NoAnswerError:
        self.successResultOf(joined.run(joined.http.close()))
        self.assertEqual(joined.clock.getDelayedCalls(), [])
        return self.failureResultOf(request, NoAnswerError).value

    def test_no_connection(self):
        """A refused connection is ``NotSent``, in the network's words."""
        joined = WiredHttp(raw())
        joined.wire.refuse = Refused("nobody there")
        failed = self.failed(joined, joined.run(joined.http.request("POST", URL, {}, b"x")))
        self.assertIsInstance(failed, NotSent)
        self.assertIn("nothing listens there", str(failed))

    def test_lost_answer(self):
        """A connection that ends after the body is ``AnswerLost``, at once and by garbage too."""
        for answer in (b"", b"\x15\x03\x01 what?\r\n\r\n", b"HTTP/1.1 20"):
            with self.subTest(answer):
                joined = WiredHttp(raw(answer, closes=True))
                failed = self.failed(joined, joined.run(joined.http.request("POST", URL, {}, b"x")))
                self.assertIsInstance(failed, AnswerLost)
                self.assertNotIn("cleanly", str(failed))

    def test_another_protocol(self):
        """What speaks no HTTP is told in words, and not in those of a parser."""
        joined = WiredHttp(raw(b"220 mail.example.com ESMTP\r\n"))
        failed = self.failed(joined, joined.run(joined.http.request("POST", URL, {}, b"x")))
        self.assertEqual(str(failed), "request at acs.example.com: what answers there does not speak HTTP")

    def test_no_answer_in_time(self):
        """Silence after the body is ``AnswerLost`` after the timeout, not before."""
        joined = WiredHttp(raw())
        request = joined.run(joined.http.request("POST", URL, {}, b"x"))
        joined.advance(29.9)
        self.assertNoResult(request)
        joined.advance(0.1)
        failed = self.failed(joined, request)
        self.assertIsInstance(failed, AnswerLost)
        self.assertEqual(str(failed), "no answer to the request from acs.example.com within 30 s")

    def test_lost_get(self):
        """A request without a body has done nothing, so it is ``NotSent``."""
        joined = WiredHttp(raw(b"", closes=True))
        failed = self.failed(joined, joined.run(joined.http.request("GET", URL, {})))
        self.assertIsInstance(failed, NotSent)


class RealTests(TestCase):
    """What only real sockets show."""

    def setUp(self) -> None:
        self.made = make_certificate(self.mktemp())

    def listen(self, factory: Factory, *, tls: bool = False) -> int:
        server = Server(factory)
        if tls:
            context = DefaultOpenSSLContextFactory(str(self.made.key), str(self.made.certificate))
            port = reactor.listenSSL(0, server, context, interface="127.0.0.1")
        else:
            port = reactor.listenTCP(0, server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(server.close)
        return port.getHost().port

    def client(self, *, timeout: float = 10.0, ca: str = "") -> object:
        http = open_http(reactor, concurrency=2, timeout=timeout, outbound=Outbound(ca=ca))
        self.addCleanup(lambda: Deferred.fromCoroutine(http.close()))
        return http

    async def test_verified_tls(self):
        """With the authority's certificate in ``ca``, requests go over TLS; twice over one connection."""
        site = Site(Echo(), timeout=None)
        url = f"https://localhost:{self.listen(site, tls=True)}//x?y"
        http = self.client(ca=str(self.made.ca))
        answers = [await http.request("POST", url, {}, b"x" * 300_000) for _ in range(2)]
        self.assertEqual([answer.header("X-Size") for answer in answers], ["300000"] * 2)
        self.assertTrue(answers[0].body.startswith(b"//x?y localhost:"))

    async def test_untrusted_certificate(self):
        """A certificate that nobody vouches for means that nothing was sent."""
        port = self.listen(Site(Echo(), timeout=None), tls=True)
        with self.assertRaises(NotSent) as caught:
            await self.client().request("POST", f"https://localhost:{port}/", {}, b"x")
        self.assertIn("certificate verify failed", str(caught.exception))

    async def test_wrong_name(self):
        """So does a certificate for another host."""
        self.made = make_certificate(self.mktemp(), "mail.example.com")
        port = self.listen(Site(Echo(), timeout=None), tls=True)
        with self.assertRaises(NotSent):
            await self.client(ca=str(self.made.ca)).request("POST", f"https://localhost:{port}/", {}, b"x")

    async def test_no_handshake(self):
        """A server that never speaks TLS is given up before anything is sent."""
        silent = raw()
        port = self.listen(silent)
        with self.assertRaises(NotSent):
            await self.client(timeout=0.2).request("POST", f"https://localhost:{port}/", {}, b"secret")
        self.assertNotIn(b"secret", b"".join(silent.received))

    async def test_cut_within_the_body(self):
        """A connection that ends while the body is still on its way is ``NotSent``."""
        port = self.listen(raw(b"", closes=True))
        with self.assertRaises(NotSent):
            await self.client().request("POST", f"http://127.0.0.1:{port}/", {}, b"x" * 30_000_000)

    async def test_unknown_scheme(self):
        """A URL that no connection can be made for is ``NotSent``."""
        with self.assertRaises(NotSent):
            await self.client().request("POST", "ftp://localhost/", {}, b"x")


class ConnectTests(SynchronousTestCase):
    def test_plain_http(self):
        """Plain HTTP is for loopback only; no other endpoint is even made."""
        connect = connect_by_name(MemoryReactorClock(), timeout=1.0)
        for host in ("192.0.2.1", "example.com", "localhost.example.com", "2001:db8::1"):
            with self.subTest(host):
                self.assertRaises(SchemeNotSupported, connect, "http", host, 80)
        for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
            with self.subTest(host):
                self.assertTrue(IStreamClientEndpoint.providedBy(connect("http", host, 80)))
