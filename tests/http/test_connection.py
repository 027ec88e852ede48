"""What a connection does with what servers answer, and what becomes of it then."""

import gzip
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from smtprelay.http.client import MAX_ANSWER, AnswerLost, NotSent, Response, literal_http
from smtprelay.http.connection import MAX_HEAD
from smtprelay.http.pool import LiteralAgent
from smtprelay.http.upload import PIECE
from tests.providers.http_wiring import WiredHttp

URL = "https://acs.example.com/emails:send"
OK = b"HTTP/1.1 200 Ok\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 202 A\r\nTransfer-Encoding: chunked\r\nX-Size: 5\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"


class Server(Protocol):
    """Answers each request with the next of the script; closes after the last one, or instead of ``None``."""

    def connectionMade(self) -> None:
        self.factory.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.factory.received.append(data)
        answer = self.factory.script.pop(0)
        for segment in answer if isinstance(answer, list) else [answer or b""]:
            self.transport.write(segment)
        if answer is None:
            self.transport.loseConnection()


class Case(SynchronousTestCase):
    def join(self, *script: object) -> WiredHttp:
        self.server = Factory.forProtocol(Server)
        self.server.script, self.server.connections, self.server.received = list(script), [], []
        self.joined = WiredHttp(self.server)
        return self.joined

    def start(self, method: str = "POST", body: bytes = b"x") -> "Deferred[Response]":
        return self.joined.run(self.joined.http.request(method, URL, {}, body))

    def answer(self, method: str = "POST", body: bytes = b"x") -> Response:
        return self.successResultOf(self.start(method, body))

    def assert_connections(self, count: int) -> None:
        self.assertEqual(len(self.server.connections), count)


class ReadingTests(Case):
    def test_chunked(self):
        """An answer in chunks is put together."""
        self.join(CHUNKED)
        answer = self.answer()
        self.assertEqual((answer.status, answer.body, answer.complete), (202, b"abcde", True))

    @given(st.sampled_from([OK, CHUNKED]), st.lists(st.integers(1, len(CHUNKED))))
    def test_segments(self, whole: bytes, cuts: "list[int]"):
        """However the network cuts an answer, it is the same."""
        self.join(whole)
        expected = self.answer()
        self.join(b"", OK)
        request = self.start()
        ends = [*sorted({cut for cut in cuts if cut < len(whole)}), len(whole)]
        for begin, end in zip([0, *ends], ends, strict=False):
            self.server.connections[0].transport.write(whole[begin:end])
            self.joined.advance(0)
        answer = self.successResultOf(request)
        self.assertEqual(
            (answer.status, answer.body, answer.complete, answer.header("X-Size")),
            (expected.status, expected.body, True, expected.header("X-Size")),
        )
        self.answer()
        self.assert_connections(1)

    def test_continue(self):
        """``100 Continue`` and its like come before the answer, and leave nothing in it."""
        self.join([b"HTTP/1.1 100 C\r\nX-Early: 1\r\n\r\n", b"HTTP/1.1 103 E\r\n\r\n", OK], OK)
        answer = self.answer()
        self.assertEqual((answer.status, answer.body, answer.header("X-Early")), (200, b"ok", ""))
        self.answer()
        self.assert_connections(1)

    def test_gzip(self):
        """Gzip is asked for and decoded."""
        packed = gzip.compress(b"hello")
        self.join(
            b"HTTP/1.1 200 O\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
        )
        self.assertEqual(self.answer().body, b"hello")

    def test_gzip_bomb(self) -> None:
        """Of what is a thousand times as long when it is unpacked, not much more is unpacked than is kept."""
        packed = gzip.compress(b"x" * 200 * MAX_ANSWER)
        self.join(
            b"HTTP/1.1 200 O\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
        )
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.assertEqual(len(self.answer().body), MAX_ANSWER)
        self.assertLess(tracemalloc.get_traced_memory()[1], 20 * MAX_ANSWER)

    def test_broken_gzip(self):
        """A status counts, even if its body is not the gzip that it says it is; no more of it is read."""
        head = b"HTTP/1.1 200 O\r\nContent-Encoding: gzip\r\nContent-Length: 999\r\n\r\n"
        for segments in ([head + b"not gzip!"], [head, b"not", b" gzip!"]):
            with self.subTest(segments):
                self.join(segments)
                answer = self.answer()
                self.assertEqual((answer.status, answer.complete), (200, False))
                self.assertTrue(self.joined.wire.pumps[0].clientIO.disconnecting)

    def test_long(self):
        """Of an answer that is whole but too long, the end is dropped, and not the connection."""
        self.join(
            b"HTTP/1.1 200 O\r\nContent-Length: %d\r\n\r\n" % (MAX_ANSWER + 5) + b"x" * (MAX_ANSWER + 5), OK
        )
        self.assertEqual(len(self.answer().body), MAX_ANSWER)
        self.answer()
        self.assert_connections(1)

    def test_broken_body(self):
        """So it does if the body is no HTTP."""
        head = b"HTTP/1.1 202 O\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
        for segments in ([head + b"what?"], [head, b"what?"]):
            with self.subTest(segments):
                self.join(segments)
                answer = self.answer()
                self.assertEqual((answer.status, answer.body, answer.complete), (202, b"ab", False))

    def test_until_the_end(self):
        """A body without a length may be whole when the connection ends, but nobody knows."""
        self.join([b"HTTP/1.1 200 O\r\n\r\nab"])
        request = self.start()
        self.assertNoResult(request)
        self.server.connections[0].transport.loseConnection()
        self.joined.advance(0)
        answer = self.successResultOf(request)
        self.assertEqual((answer.status, answer.body, answer.complete), (200, b"ab", False))
        self.successResultOf(self.joined.run(self.joined.http.close()))
        self.assertEqual(self.joined.clock.getDelayedCalls(), [])

    def test_endless_headers(self):
        """Headers without an end are no answer."""
        self.join([b"HTTP/1.1 200 O\r\n", *[b"X-Much: %b\r\n" % (b"x" * 1000)] * (MAX_HEAD // 1000 + 1)])
        self.failureResultOf(self.start(), AnswerLost)
        self.assertTrue(self.joined.wire.pumps[0].clientIO.disconnecting)

    def test_endless_trailers(self) -> None:
        """Fields behind a body that have no end are not kept; the answer counts, without its end."""
        head = b"HTTP/1.1 202 O\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n"
        for field in (b"X-Much: %b\r\n" % (b"x" * 1000), b"x" * 1000):
            with self.subTest(field):
                self.join(head)
                asked = self.start()
                connection = self.joined.wire.pumps[0].client
                for _ in range(200):
                    connection.dataReceived(field)
                answer = self.successResultOf(asked)
                self.assertEqual((answer.status, answer.body, answer.complete), (202, b"ab", False))
                self.assertTrue(self.joined.wire.pumps[0].clientIO.disconnecting)
                self.assertLess(len(list(answer.headers.getAllRawHeaders())), 70)

    def test_long_body(self) -> None:
        """A body may be longer than headers."""
        self.join(b"HTTP/1.1 200 O\r\nContent-Length: 100000\r\n\r\n")
        asked = self.start()
        for _ in range(100):
            self.joined.wire.pumps[0].client.dataReceived(b"x" * 1000)
        answer = self.successResultOf(asked)
        self.assertEqual((len(answer.body), answer.complete), (100_000, True))

    def test_endless_interim_answers(self) -> None:
        """So it is with "100 Continue" again and again."""
        self.join([b"HTTP/1.1 100 Continue\r\n\r\n" * 100] * 40)
        self.failureResultOf(self.start(), AnswerLost)
        self.assertTrue(self.joined.wire.pumps[0].clientIO.disconnecting)


class KeepingTests(Case):
    def test_closing_answer(self):
        """A connection that the server wants to close is not used again."""
        self.join(b"HTTP/1.1 200 O\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", OK)
        self.assertEqual([self.answer().status for _ in range(2)], [200, 200])
        self.assert_connections(2)

    def test_second_answer(self):
        """One that says more than it was asked for is not used again, at once or later."""
        self.join(OK + OK, OK, OK)
        self.assertEqual(self.answer().body, b"ok")
        self.assertEqual(self.answer().body, b"ok")
        self.assert_connections(2)
        self.joined.wire.pumps[1].client.dataReceived(OK)
        self.assertEqual(self.answer().body, b"ok")
        self.assert_connections(3)

    def test_closed_between(self):
        """After the server has closed it, the next request goes on a new one."""
        self.join(OK, OK)
        self.answer()
        self.server.connections[0].transport.loseConnection()
        self.joined.advance(0)
        self.assertEqual(self.answer().body, b"ok")
        self.assert_connections(2)

    def test_closed_meanwhile(self):
        """If it is closed when a request is on its way, one that changes nothing goes again, and no other."""
        self.join(OK, None, OK, None)
        self.answer()
        self.assertEqual(self.answer("GET", b"").body, b"ok")
        self.assert_connections(2)
        self.failureResultOf(self.start(), AnswerLost)
        self.assert_connections(2)

    def test_new_one_is_not_tried_again(self):
        """A new connection that fails is not the fault of its age."""
        self.join(None, OK)
        self.failureResultOf(self.start("GET", b""), NotSent)
        self.assert_connections(1)

    def test_how_many(self):
        """As many connections as were said are kept, the others closed after use."""
        self.join(b"", b"", b"")
        requests = [self.start() for _ in range(3)]
        for connection in self.server.connections:
            connection.transport.write(OK)
        self.joined.advance(0)
        self.assertEqual([self.successResultOf(request).body for request in requests], [b"ok"] * 3)
        closed = [pump.clientIO.disconnecting for pump in self.joined.wire.pumps]
        self.assertEqual(closed, [False, False, True])

    def test_how_long(self):
        """A connection that nobody needs is closed after a while."""
        self.join(OK, OK)
        self.answer()
        self.joined.advance(49.9)
        self.assertFalse(self.joined.wire.pumps[0].clientIO.disconnecting)
        self.joined.advance(0.2)
        self.assertTrue(self.joined.wire.pumps[0].clientIO.disconnecting)
        self.answer()
        self.assert_connections(2)

    def test_close(self):
        """``close`` waits for no request, but those under way go to their end, and then nothing is kept."""
        self.join(OK, b"", b"")
        self.answer()
        ends, never = self.start(), self.start()
        self.successResultOf(self.joined.run(self.joined.http.close()))
        self.server.connections[0].transport.write(OK)
        self.joined.advance(0)
        self.assertEqual(self.successResultOf(ends).body, b"ok")
        self.assertTrue(self.joined.wire.pumps[0].clientIO.disconnecting)
        self.joined.advance(30)
        self.failureResultOf(never, AnswerLost)
        self.assertEqual(self.joined.clock.getDelayedCalls(), [])


class SendingTests(Case):
    def test_request(self):
        """What leaves is one request, with its headers once and its body's length."""
        self.join(OK)
        self.joined.run(self.joined.http.request("POST", URL, {"X-Date": "ö", "Host": "h:1"}, b"body"))
        head, _, body = b"".join(self.server.received).partition(b"\r\n\r\n")
        self.assertEqual(body, b"body")
        self.assertEqual(
            head.split(b"\r\n"),
            [
                b"POST /emails:send HTTP/1.1",
                b"X-Date: \xc3\xb6",
                b"Host: h:1",
                b"Accept-Encoding: gzip",
                b"Content-Length: 4",
            ],
        )

    def test_smuggling(self):
        """Neither a target nor a header can bring another line along; nothing is sent then."""
        for url, headers in (
            (URL + " HTTP/1.1\r\nX: y", {}),
            (URL + "ö", {}),
            (URL, {"X-A": "a\r\nX-B: b"}),
            (URL, {"X-A": "a\nX-B: b"}),
            (URL, {"X-A\r\nX-B": "b"}),
        ):
            with self.subTest(url=url, headers=headers):
                joined = self.join()
                self.failureResultOf(joined.run(joined.http.request("POST", url, headers, b"x")), ValueError)
                self.assert_connections(0)


class Slow(StringTransport):
    """Takes one piece at a time of what is produced for it."""

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.producer is not None:
            self.producer.pauseProducing()


@implementer(IStreamClientEndpoint)
class Place:
    """Connects at once to a slow server, or never; ``connecting`` is the attempt."""

    def __init__(self, *, never: bool = False) -> None:
        self.never = never

    def connect(self, factory: Factory) -> "Deferred[Protocol]":
        self.connecting: Deferred[Protocol] = Deferred()
        if not self.never:
            self.transport = Slow()
            protocol = factory.buildProtocol(None)
            protocol.makeConnection(self.transport)
            self.transport.protocol = protocol
            self.connecting.callback(protocol)
        return self.connecting


class PatienceTests(SynchronousTestCase):
    def begin(self, pieces: int, *, never: bool = False) -> "Deferred[Response]":
        self.clock = Clock()
        self.place = Place(never=never)
        http = literal_http(LiteralAgent(lambda *_: self.place, self.clock, 1), self.clock, timeout=30)
        return Deferred.fromCoroutine(http.request("POST", URL, {}, b"x" * PIECE * pieces))

    def test_connecting(self):
        """Who cannot be connected to in time is given up, and nothing was sent."""
        request = self.begin(1, never=True)
        self.clock.advance(29.9)
        self.assertNoResult(request)
        self.clock.advance(0.1)
        said = str(self.failureResultOf(request, NotSent).value)
        self.assertEqual(said, "no connection to acs.example.com within 30 s")

    def test_slow_body(self):
        """A body may take long, as long as it moves; after that the answer may."""
        request = self.begin(4)
        for _ in range(3):
            self.clock.advance(29)
            self.place.transport.producer.resumeProducing()
        self.clock.advance(29)
        self.assertNoResult(request)
        self.clock.advance(1)
        self.failureResultOf(request, AnswerLost)

    def test_stalled_body(self):
        """A body that does not move any more is given up, and was not sent; the connection is closed."""
        request = self.begin(4)
        self.clock.advance(30)
        said = str(self.failureResultOf(request, NotSent).value)
        self.assertEqual(said, "no answer to the request from acs.example.com within 30 s")
        self.assertTrue(self.place.transport.disconnected)

    def test_cut_within_the_body(self):
        """A connection that ends within the body took nothing."""
        request = self.begin(4)
        self.place.transport.protocol.connectionLost(Failure(ConnectionLost()))
        self.failureResultOf(request, NotSent)

    def test_early_answer(self):
        """An answer within the body is an answer; what is missing of the body does not follow."""
        request = self.begin(4)
        protocol = self.place.transport.protocol
        protocol.dataReceived(b"HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.successResultOf(request).status, 413)
        self.assertTrue(self.place.transport.disconnected)
