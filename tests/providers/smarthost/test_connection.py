from collections.abc import AsyncIterator

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.providers.smarthost.connection import Channel, Deadline, Lost


class DeadlineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.reached: list[float] = []
        self.deadline = Deadline(self.clock, lambda: self.reached.append(self.clock.seconds()))

    def test_moved(self) -> None:
        """It is reached at the time that was set last, be it later or sooner."""
        self.deadline.set(10)
        self.deadline.set(300)
        self.clock.pump([10, 90])
        self.deadline.set(30)
        self.clock.pump([29, 1])
        self.assertEqual(self.reached, [130])

    def test_cheap(self) -> None:
        """Moving it further away makes no delayed call."""
        self.deadline.set(10)
        [call] = self.clock.getDelayedCalls()
        for _ in range(5):
            self.clock.advance(1)
            self.deadline.set(10)
        self.assertEqual(self.clock.getDelayedCalls(), [call])
        self.assertEqual(call.getTime(), 10)

    def test_stopped(self) -> None:
        """Stopped, it is never reached."""
        self.deadline.set(10)
        self.deadline.stop()
        self.deadline.stop()
        self.assertEqual((self.clock.getDelayedCalls(), self.reached), ([], []))


class ChannelTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.channel = Channel(self.clock, "smtp.example.com:25", 300)
        self.transport = StringTransportWithDisconnection()
        self.transport.protocol = self.channel
        self.channel.makeConnection(self.transport)

    def stream(self, *pieces: bytes) -> "Deferred[bool]":
        """Begin to stream ``pieces``."""

        async def chunks() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        return Deferred.fromCoroutine(self.channel.stream(chunks(), lambda chunk: chunk, 180))

    def test_greeting_before_it_was_asked_for(self) -> None:
        """A reply that came early is there when it is asked for."""
        self.channel.dataReceived(b"220 x\r\n")
        [answer] = self.successResultOf(self.channel.ask(b"", 1, 10))
        self.assertEqual(answer.code, 220)

    def test_stream_waits_for_the_server(self) -> None:
        """While the transport's buffer is full nothing more is read from the body."""

        def write(data: bytes) -> None:
            StringTransportWithDisconnection.write(self.transport, data)
            self.channel.pauseProducing()

        self.transport.write = write
        waiting = self.stream(b"a", b"b")
        self.assertEqual(self.transport.value(), b"a")
        self.transport.producer.resumeProducing()
        self.assertEqual(self.transport.value(), b"ab")
        self.assertNoResult(waiting)
        self.transport.producer.resumeProducing()
        self.assertTrue(self.successResultOf(waiting))
        self.assertIsNone(self.transport.producer)

    def test_stalled_stream(self) -> None:
        """A server that reads nothing for 180 seconds is left."""
        self.transport.write = lambda _data: self.channel.pauseProducing()
        waiting = self.stream(b"a", b"b")
        self.clock.advance(179)
        self.assertNoResult(waiting)
        self.clock.advance(1)
        self.assertFalse(self.successResultOf(waiting))
        self.failureResultOf(self.channel.ask(b"", 1, 10), Lost)

    def test_asked_after_the_end(self) -> None:
        """A connection that is gone answers nothing, and keeps no delayed call."""
        self.transport.loseConnection()
        self.failureResultOf(self.channel.ask(b"NOOP\r\n", 1, 10), Lost)
        self.assertFalse(self.channel.alive)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_quit_that_hangs(self) -> None:
        """A connection that does not close within five seconds of QUIT is cut."""
        self.transport.loseConnection = lambda: None
        cut: list[bool] = []
        self.transport.abortConnection = lambda: cut.append(True)
        self.channel.rest(30)
        self.channel.quit()
        self.clock.advance(5)
        self.assertEqual(cut, [True])
