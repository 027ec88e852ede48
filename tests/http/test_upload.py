"""A request's body on its way out: octets, or what gives them piece by piece."""

from collections.abc import AsyncIterator, Iterable
from typing import Any

from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from smtprelay.http.client import AnswerLost, Http, NotSent
from smtprelay.http.upload import PIECE, BodyError, Upload
from smtprelay.settings.provider import RemoteProviderSettings
from smtprelay.testing.memory_http import MemoryHttp
from tests.providers.http_wiring import WiredHttp

URL = "http://127.0.0.1/send"
SETTINGS = RemoteProviderSettings(type="p")


class Pieces:
    """
    A body in pieces; a Deferred among them is waited for, an exception is raised.

    :ivar given: how many pieces were asked for; ``begun``: how often it was begun with.
    """

    def __init__(self, pieces: Iterable[Any], size: int | None = None) -> None:
        self.pieces = list(pieces)
        self.size = size
        self.given = self.begun = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        self.begun += 1
        for piece in self.pieces:
            self.given += 1
            if isinstance(piece, Exception):
                raise piece
            yield await piece if isinstance(piece, Deferred) else piece


class Api(Resource):
    """Keeps what it gets, and how that was framed; wants a second request after ``refusals`` 401."""

    isLeaf = True
    refusals = 0

    def __init__(self) -> None:
        super().__init__()
        self.got: list[tuple[bytes, str | None, str | None]] = []

    def render(self, request: Request) -> bytes:
        framing = (request.getHeader("Content-Length"), request.getHeader("Transfer-Encoding"))
        self.got.append((request.content.read(), *framing))
        if len(self.got) <= self.refusals:
            request.setResponseCode(401)
        return b"ok"


class Silent(Resource):
    """Never answers."""

    isLeaf = True

    def render(self, request: Request) -> int:
        return NOT_DONE_YET


class UploadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.transport = StringTransport()
        self.moves: list[int] = []

    def begin(self, body: "bytes | Pieces") -> "tuple[Upload, Deferred[None] | None]":
        self.transport = StringTransport()
        upload = Upload(body, lambda _: self.moves.append(len(self.transport.value())))
        return upload, upload.begin(b"head", self.transport)

    def test_small(self) -> None:
        """A small body leaves with the head."""
        upload, done = self.begin(b"xxxxx")
        self.assertEqual((upload.sent, done, self.transport.value()), (True, None, b"headxxxxx"))
        self.assertIsNone(self.transport.producer)

    def test_large(self) -> None:
        """A large one goes on when there is room, and each piece is told."""
        upload = Upload(b"x" * (2 * PIECE + 1))
        upload.at = lambda _: upload.pauseProducing() or self.moves.append(len(self.transport.value()))
        done = upload.begin(b"head", self.transport)
        self.assertFalse(upload.sent)
        for _ in range(2):
            self.transport.producer.resumeProducing()
        self.successResultOf(done)
        self.assertEqual((upload.sent, self.transport.producer), (True, None))
        self.assertEqual(self.moves, [4 + PIECE, 4 + 2 * PIECE, 4 + 2 * PIECE + 1])

    def test_lost(self) -> None:
        """Nothing is written after the connection has gone, and it is not sent."""
        upload = Upload(b"x" * (2 * PIECE))
        upload.at = lambda _: upload.stopProducing()
        done = upload.begin(b"head", self.transport)
        upload.resumeProducing()
        self.assertNoResult(done)
        self.assertEqual((upload.sent, len(self.transport.value())), (False, 4 + PIECE))

    def test_pieces(self) -> None:
        """It is sent with its last piece, and not before; what is not there yet is waited for."""
        late: Deferred[bytes] = Deferred()
        upload, done = self.begin(Pieces([b"one", b"", late], size=6))
        self.assertEqual((upload.sent, self.transport.value()), (False, b"headone"))
        late.callback(b"two")
        self.successResultOf(done)
        self.assertEqual((upload.sent, self.transport.value()), (True, b"headonetwo"))
        self.assertEqual(self.moves, [7, 10])

    def test_chunked(self) -> None:
        """If nobody knows how long it is each piece is a chunk, and an empty one ends it: no piece does."""
        late: Deferred[bytes] = Deferred()
        upload, done = self.begin(Pieces([b"one", b"", late]))
        self.assertEqual((upload.sent, self.transport.value()), (False, b"head3\r\none\r\n"))
        late.callback(b"x" * 26)
        self.successResultOf(done)
        self.assertTrue(upload.sent)
        self.assertEqual(self.transport.value()[12:], b"1a\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n")

    def test_back_pressure(self) -> None:
        """While the connection takes nothing one piece is held, and no more are asked for."""
        body = Pieces([b"x"] * 9, size=9)
        upload = Upload(body)
        upload.at = lambda _: upload.pauseProducing()
        upload.begin(b"", self.transport)
        self.assertEqual((body.given, self.transport.value()), (2, b"x"))
        upload.resumeProducing()
        self.assertEqual((body.given, self.transport.value()), (3, b"xx"))

    def test_broken(self) -> None:
        """A body that fails, or has not the length that it said, is an error; then it is not sent."""
        for pieces in ([b"one", OSError("disk")], [b"one"], [b"onetwo", b"three"], [b"onetwothree"]):
            upload, done = self.begin(Pieces(pieces, size=8))
            self.failureResultOf(done, BodyError)
            self.assertFalse(upload.sent)

    def test_broken_at_its_end(self) -> None:
        """What fails behind the last octet is sent: the provider has a whole request."""
        for more in (OSError("disk"), b"!"):
            upload, done = self.begin(Pieces([b"one", more], size=3))
            self.failureResultOf(done, BodyError)
            self.assertTrue(upload.sent)
        upload, done = self.begin(Pieces([b"one", OSError("disk")]))
        self.failureResultOf(done, BodyError)
        self.assertFalse(upload.sent)
        self.assertFalse(self.transport.value().endswith(b"0\r\n\r\n"))


class RequestTests(SynchronousTestCase):
    """Over the agent of the relay, and over those that treq has for tests."""

    def setUp(self) -> None:
        self.api = Api()
        self.clients = (WiredHttp.to(self.api), MemoryHttp(self.api))

    def test_framing(self) -> None:
        """The length is told if it is known, else the request is chunked; both arrive whole."""
        pieces = [b"x" * 200_000, b"y" * 200_000]
        for at in self.clients:
            for size, framing in ((400_000, ("400000", None)), (None, (None, "chunked"))):
                answer = at.result(at.http.request("POST", URL, {}, Pieces(pieces, size)))
                self.assertEqual((answer.status, answer.body), (200, b"ok"))
                self.assertEqual(self.api.got.pop(), (b"".join(pieces), *framing))

    def test_twice(self) -> None:
        """A repeated request, after a 401, begins anew."""
        self.api.refusals = 1
        for at in self.clients:
            self.api.got.clear()
            body, secrets = Pieces([b"one", b"two"], 6), iter("abc")
            caller = at.context().caller("p", SETTINGS, lambda secrets=secrets: next(secrets))
            answer = at.result(
                caller.call(lambda key: caller.request("send", "POST", URL, {"X-Key": key}, body))  # noqa: B023
            )
            self.assertEqual((answer.status, body.begun), (200, 2))
            self.assertEqual([got for got, *_ in self.api.got], [b"onetwo"] * 2)

    def test_broken(self) -> None:
        """A body that fails breaks the request off: the provider cannot have acted on it."""
        for at in self.clients:
            for size in (99, None):
                body = Pieces([b"one", OSError("disk")], size)
                error = self.assertRaises(NotSent, at.result, at.http.request("POST", URL, {}, body))
                self.assertEqual(str(error), "the body cannot be read: OSError: disk")
            at.result(at.http.close())
            self.assertEqual((self.api.got, at.leftovers()), ([], []))

    def test_broken_at_its_end(self) -> None:
        """If only the end of a body fails its provider may have acted on the request."""
        late: Deferred[bytes] = Deferred()
        at = WiredHttp.to(Silent())
        asked = at.run(at.http.request("POST", URL, {}, Pieces([b"one", late], 3)))
        late.errback(OSError("disk"))
        self.failureResultOf(asked, AnswerLost)

    def test_cancelled(self) -> None:
        """A request that is given up ends its connection; nothing more of its body is asked for."""
        late: Deferred[bytes] = Deferred()
        body = Pieces([b"one", late, b"three"], 11)
        at = self.clients[0]
        asked = at.run(at.http.request("POST", URL, {}, body))
        asked.cancel()
        at.flush()
        self.failureResultOf(asked, NotSent)
        late.callback(b"two")
        at.result(at.http.close())
        self.assertEqual((body.given, self.api.got, at.leftovers()), (2, [], []))

    def test_too_slow(self) -> None:
        """A body that does not come is given up like a connection that does not take it."""
        at = self.clients[0]
        asked = at.run(at.http.request("POST", URL, {}, Pieces([b"one", Deferred()], 6)))
        at.advance(30)
        self.failureResultOf(asked, NotSent)

    def test_stub(self) -> None:
        """Treq's StubTreq drives it, too, with octets."""
        http = Http(StubTreq(self.api), Clock())
        answer = self.successResultOf(Deferred.fromCoroutine(http.request("POST", URL, {}, b"mail")))
        self.assertEqual((answer.body, self.api.got[0][0]), (b"ok", b"mail"))
