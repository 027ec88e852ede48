"""Long answers leave piece by piece, and arrive so."""

from collections.abc import AsyncIterator, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone

from smtprelay.web.streaming import BodyReader
from tests.web.asking import Fixture, parse

PATH = "/api/v1/queue/7QK2/message"


class LongBody:
    """Three pieces; :attr:`read` of them were asked for."""

    message = "7QK2"
    size = 6

    def __init__(self, pieces: Sequence[bytes | Exception] = (b"ab", b"cd", b"ef")) -> None:
        self.read = 0
        self._pieces = pieces

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self.read += 1
            if isinstance(piece, Exception):
                raise piece
            yield piece


class OutletTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.fixture = Fixture()

    def give(self, body: LongBody) -> LongBody:
        async def raw(_message: str) -> LongBody:
            return body

        self.fixture.spool.admin.content = raw
        return body

    def test_all_of_it(self) -> None:
        """Every piece in its order, with the length before them; HEAD tells that and reads one at most."""
        self.give(LongBody())
        response = self.fixture.get(PATH)
        self.assertEqual((response.status, response.body), (200, b"abcdef"))
        self.assertEqual(response.headers["content-length"], "6")
        body = self.give(LongBody())
        response = self.fixture.ask("HEAD", PATH)
        self.assertEqual((response.headers["content-length"], response.body, body.read), ("6", b"", 1))

    def test_no_faster_than_it_is_read(self) -> None:
        """While the client does not read, no more pieces are written, and only one is ready."""
        gate: Deferred[None] = Deferred()
        body = LongBody()

        class Slow(LongBody):
            async def chunks(self) -> AsyncIterator[bytes]:
                async for piece in body.chunks():
                    yield piece
                    if body.read == 1:
                        await gate

        self.give(Slow())
        transport = self.fixture.send("GET", PATH)
        transport.producer.pauseProducing()
        gate.callback(None)
        self.assertEqual((parse(transport.value()).body, body.read), (b"ab", 2))
        transport.producer.resumeProducing()
        self.assertEqual(parse(transport.value()).body, b"abcdef")

    def test_a_client_that_leaves(self) -> None:
        """Nothing more is read for it, and nothing breaks."""
        gate: Deferred[None] = Deferred()
        body = LongBody()

        class Slow(LongBody):
            async def chunks(self) -> AsyncIterator[bytes]:
                async for piece in body.chunks():
                    yield piece
                    if body.read == 1:
                        await gate

        self.give(Slow())
        transport = self.fixture.send("GET", PATH)
        transport.producer.stopProducing()
        transport.protocol.connectionLost(Failure(ConnectionDone()))
        gate.callback(None)
        self.assertEqual((parse(transport.value()).body, body.read), (b"ab", 2))
        self.assertEqual(self.fixture.events.of("relay.warning"), [])

    def test_a_body_that_is_gone(self) -> None:
        """It is 404 as long as nothing was sent; after that the connection ends before its time."""
        self.give(LongBody([LookupError("the body is gone")]))
        response = self.fixture.get(PATH)
        self.assertEqual((response.status, response.json), (404, {"error": "the body is gone"}))
        self.give(LongBody([b"ab", LookupError("the body is gone")]))
        transport = self.fixture.send("GET", PATH)
        self.assertEqual((parse(transport.value()).body, transport.disconnecting), (b"ab", True))
        (told,) = self.fixture.events.of("relay.warning")
        self.assertIn("the body is gone", told["exc"])


class InletTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.transport = StringTransport()
        self.inlet = BodyReader()
        self.inlet.makeConnection(self.transport)
        self.got: list[bytes] = []

    async def take(self) -> None:
        async for piece in self.inlet.pieces():
            self.got.append(piece)

    def test_pieces_wait_to_be_taken(self) -> None:
        """What arrives before it is asked for is kept, and the sender waits."""
        self.inlet.dataReceived(b"ab")
        self.assertEqual(self.transport.producerState, "paused")
        taking = Deferred.fromCoroutine(self.take())
        self.assertEqual((self.got, self.transport.producerState), ([b"ab"], "producing"))
        self.inlet.dataReceived(b"cd")
        self.inlet.connectionLost(Failure(ResponseDone()))
        self.successResultOf(taking)
        self.assertEqual(self.got, [b"ab", b"cd"])

    def test_an_end_that_comes_too_early(self) -> None:
        """It is raised behind what has arrived."""
        self.inlet.dataReceived(b"ab")
        self.inlet.connectionLost(Failure(ConnectionLost()))
        self.failureResultOf(Deferred.fromCoroutine(self.take()), ConnectionLost)
        self.assertEqual(self.got, [b"ab"])

    def test_nobody_wants_the_rest(self) -> None:
        """The connection is ended."""

        async def first() -> bytes:
            return await anext(self.inlet.pieces())

        self.inlet.dataReceived(b"ab")
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(first())), b"ab")
        self.assertTrue(self.transport.disconnecting)
