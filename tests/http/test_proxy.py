"""Requests through an HTTP proxy, over real sockets and TLS."""

from base64 import b64encode
from pathlib import Path
from typing import Any

from attrs import evolve
from OpenSSL.SSL import VERIFY_FAIL_IF_NO_PEER_CERT, VERIFY_PEER
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from smtprelay.http.client import Http, NoAnswerError, NotSent, ProxyLoginFailed, open_http
from smtprelay.model import outcome
from smtprelay.net.http_proxy import MAX_HEAD
from smtprelay.net.outbound import Outbound
from smtprelay.net.reachability import Reachability
from smtprelay.testing.certificates import make_certificate
from tests.ports import free_port
from tests.providers.http_wiring import Server
from tests.proxy import OPEN, ConnectProxy, ProxyConnection

HOST = "acs.example.com"
URL = f"https://{HOST}/emails"


class Recorder(Resource):
    """Answers 202, and keeps target, headers and size of each request."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bytes, Any, int]] = []

    def render(self, request: Request) -> bytes:
        self.seen.append((request.uri, request.requestHeaders, len(request.content.read())))
        request.setResponseCode(202)
        return b"taken"


class ProxyTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.service = Recorder()
        self.made = make_certificate(self.mktemp(), HOST)

    def serve(self, clients: Path | None = None) -> int:
        """Serve by TLS until the test ends, maybe only ``clients`` of an authority; return the port."""
        server = Server(Site(self.service, timeout=None))
        context = DefaultOpenSSLContextFactory(str(self.made.key), str(self.made.certificate))
        if clients is not None:
            context.getContext().load_verify_locations(str(clients))
            context.getContext().set_verify(VERIFY_PEER | VERIFY_FAIL_IF_NO_PEER_CERT)
        port = reactor.listenSSL(0, server, context, interface="127.0.0.1")
        self.addCleanup(server.close)
        self.addCleanup(port.stopListening)
        return port.getHost().port

    def begin(self, answer: bytes = OPEN, **options: Any) -> ConnectProxy:
        """Begin a proxy whose tunnels lead to the service."""
        proxy = self.proxy = ConnectProxy(self, answer, **options)
        proxy.tunnels[443] = self.serve()
        self.place = f"the proxy 127.0.0.1:{proxy.port}"
        return proxy

    def client(self, *, timeout: float = 10.0, **outbound: Any) -> Http:
        self.reachability = Reachability("acs", reactor.seconds)
        http = open_http(
            reactor,
            concurrency=2,
            timeout=timeout,
            outbound=Outbound(**{"proxy": self.proxy.proxy(), "ca": str(self.made.ca), **outbound}),
            reachability=self.reachability,
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(http.close()))
        return http

    async def refused(self, kind: type[NotSent] = NotSent, *, stage: str = "proxy", **options: Any) -> str:
        """Send a request that does not leave; return why."""
        with self.assertRaises(kind) as caught:
            await self.client(**options).request("POST", URL, {}, b"x" * 9)
        why = str(caught.exception)
        self.assertEqual(self.service.seen, [])
        failure = self.reachability.failure
        self.assertEqual((failure.reason, failure.stage), (why, stage))
        expected = outcome.Blocked if kind is ProxyLoginFailed else outcome.Deferred
        self.assertEqual(caught.exception.outcome, expected(why))
        return why

    async def test_tunnel(self) -> None:
        """Requests go through one tunnel, in which the host is verified and nothing is added."""
        self.begin()
        http = self.client()
        for body in (b"x" * 9, b"x" * 3_000_000):
            answer = await http.request("POST", URL, {"X-A": "b"}, body)
            self.assertEqual((answer.status, answer.body), (202, b"taken"))
        asked = [b"CONNECT acs.example.com:443 HTTP/1.1\r\nHost: acs.example.com:443"]
        self.assertEqual(self.proxy.asked, asked)
        for uri, headers, _ in self.service.seen:
            self.assertEqual((uri, headers.getRawHeaders("host")), (b"/emails", [HOST]))
            self.assertFalse([name for name, _ in headers.getAllRawHeaders() if b"proxy" in name.lower()])
        self.assertEqual([size for *_, size in self.service.seen], [9, 3_000_000])

    async def test_login(self) -> None:
        """The proxy gets the login; the host behind it does not."""
        self.begin()
        proxy = self.proxy.proxy(user="relay", password="hunter2:é")
        await self.client(proxy=proxy).request("POST", URL, {}, b"x")
        login = b64encode("relay:hunter2:é".encode())
        self.assertIn(b"Proxy-Authorization: Basic " + login, self.proxy.asked[0])
        [(_, headers, _)] = self.service.seen
        self.assertFalse(headers.hasHeader("Proxy-Authorization"))

    async def test_tls_to_the_proxy(self) -> None:
        """A proxy may itself be reached by TLS; its certificate is verified before it gets the login."""
        own = make_certificate(self.mktemp(), "localhost")
        self.begin(tls=own)
        bundle = Path(self.mktemp())
        bundle.write_bytes(own.ca.read_bytes() + self.made.ca.read_bytes())
        login = {"user": "relay", "password": "hunter2"}
        proxy = evolve(self.proxy.proxy(**login), scheme="https", host="localhost")
        answer = await self.client(proxy=proxy, ca=str(bundle)).request("POST", URL, {}, b"x" * 300_000)
        self.assertEqual((answer.status, len(self.proxy.asked)), (202, 1))
        self.service.seen.clear()
        why = await self.refused(proxy=proxy)
        self.assertIn(f"TLS at the proxy {proxy}: certificate verify failed (if that is the right", why)
        self.assertTrue(why.endswith("in ca)"), why)
        self.assertEqual(len(self.proxy.asked), 1)

    async def test_client_certificate(self) -> None:
        """The host in the tunnel gets our certificate, if there is one."""
        ours = make_certificate(self.mktemp(), "relay.example.com")
        self.begin().tunnels[443] = self.serve(ours.ca)
        shown = (str(ours.certificate), str(ours.key))
        answer = await self.client(client_certificate=shown).request("POST", URL, {}, b"x")
        self.assertEqual(answer.status, 202)
        with self.assertRaises(NoAnswerError):
            await self.client().request("POST", URL, {}, b"x")

    async def test_certificate_of_another_host(self) -> None:
        """What answers in the tunnel must be the host that was asked for."""
        self.made = make_certificate(self.mktemp(), "other.example.com")
        self.begin()
        why = await self.refused(stage="TLS")
        self.assertTrue(why.startswith(f"TLS at {HOST} through {self.place}: "), why)

    async def test_login_required(self) -> None:
        """A proxy that wants a login, or another one, blocks the provider; the text says what to do."""
        basic = b"Proxy-Authenticate: Basic realm=x\r\n"
        other = b"proxy-authenticate:  Negotiate\r\nProxy-Authenticate: NTLM\r\n"
        for offered, login, why in (
            (basic, {}, "wants a login (407): set proxy: http://USER:PASSWORD@HOST:PORT"),
            (
                b"Proxy-Authenticate: NTLM, Basic realm=x\r\n",
                {},
                "wants a login (407): set proxy: http://USER:PASSWORD@HOST:PORT",
            ),
            (b"", {"user": "u", "password": "hunter2"}, "refuses our login (407)"),
            (other, {}, "wants a login by NTLM, Negotiate; the relay has Basic only (407)"),
        ):
            head = b"HTTP/1.1 407 Proxy Authentication Required\r\n" + offered
            self.begin(head + b"Content-Length: 3\r\n\r\nno!")
            said = await self.refused(ProxyLoginFailed, proxy=self.proxy.proxy(**login))
            self.assertEqual(said, f"{self.place} {why}")

    async def test_refusals(self) -> None:
        """Any other answer defers the mail, in the proxy's words without what is not printable."""
        for answer, why in (
            (b"HTTP/1.1 403 Forbidden\r\n\r\n", "403 Forbidden"),
            (b"HTTP/1.0 502 Bad Gateway\r\nX: y\r\n\r\n", "502 Bad Gateway"),
            (b"HTTP/1.1 503\n\n", "503"),
            (b"HTTP/1.1 504 a\x1b[31mred\r\n\r\n", "504 a"),
            (b"HTTP/1.1 301 Moved\r\nLocation: http://evil/\r\n\r\n", "301 Moved"),
            (b"HTTP/1.1 500 " + b"x" * 5000 + b"\r\n\r\n", "500 " + "x" * 80),
        ):
            self.begin(answer)
            self.assertEqual(await self.refused(), f"{self.place} makes no tunnel to {HOST}:443: {why}")

    async def test_not_http(self) -> None:
        """What speaks no HTTP is told in words."""
        for answer in (b"220 mail.example.com\r\n\r\n", b"\x15\x03\x01\n\n", b"HTTP/1.1 2xx ok\r\n\r\n"):
            self.begin(answer)
            self.assertEqual(await self.refused(), f"what answers at {self.place} does not speak HTTP")

    async def test_endless_header(self) -> None:
        """A header without an end is given up when it is too long, also that of a success."""
        for status in (b"500", b"200"):
            self.begin(act=self.write(b"HTTP/1.1 " + status + b" x\r\n" + b"X-A: b\r\n" * 9000))
            why = f"its header has more than {MAX_HEAD} bytes"
            self.assertEqual(await self.refused(), f"no answer to CONNECT from {self.place}: {why}")

    async def test_silence(self) -> None:
        """A proxy that says nothing, or only begins an answer, is given up in time."""
        for answer in (b"", b"HTTP/1.1 200 OK\r\n"):
            self.begin(act=self.write(answer))
            why = f"no answer to CONNECT of {self.place} within 0.3 s"
            self.assertEqual(await self.refused(timeout=0.3), why)

    async def test_closed_early(self) -> None:
        """So is one that closes instead of an answer, or in the middle of the handshake behind it."""
        self.begin(act=lambda connection: connection.transport.loseConnection())
        why = f"no answer to CONNECT from {self.place}: the other side closed the connection"
        self.assertEqual(await self.refused(), why)
        self.begin(act=self.write(OPEN, close=True))
        said = await self.refused(stage="TLS")
        self.assertTrue(said.startswith(f"TLS at {HOST} through {self.place}: "), said)

    async def test_away(self) -> None:
        """A proxy that cannot be reached is named, without its password."""
        self.begin()
        proxy = evolve(self.proxy.proxy(user="u", password="hunter2"), port=free_port())
        why = f"connect at the proxy {proxy}: connection refused: nothing listens there"
        self.assertEqual(await self.refused(proxy=proxy), why)

    async def test_directly(self) -> None:
        """This machine, and what NO_PROXY names, are asked without the proxy."""
        self.made = make_certificate(self.mktemp(), "localhost")
        self.begin()
        url = f"https://localhost:{self.proxy.tunnels[443]}/"
        answer = await self.client().request("POST", url, {}, b"x")
        self.assertEqual((answer.status, self.proxy.asked), (202, []))

    async def test_silent_host(self) -> None:
        """A host that does not answer in its tunnel is named with the proxy."""
        self.begin()
        self.proxy.tunnels[443] = ConnectProxy(self, act=self.write(b"")).port
        why = await self.refused(stage="TLS", timeout=0.3)
        self.assertEqual(why, f"no TLS handshake with {HOST} through {self.place} within 0.3 s")

    def write(self, answer: bytes, *, close: bool = False) -> Any:
        def act(connection: ProxyConnection) -> None:
            connection.transport.write(answer)
            if close:
                connection.transport.loseConnection()

        return act
