"""What the watched writer tells of the database."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.spool.engines.transaction import SpoolFault
from smtprelay.spool.engines.write_health import WriteHealth


class HangingWriter:
    """Ends each operation when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[object]] = []

    def do(self, _operation: object) -> "Deferred[object]":
        """Wait."""
        self.waiting.append(Deferred())
        return self.waiting[-1]


class SilenceTests(SynchronousTestCase):
    def test_a_database_that_hangs(self) -> None:
        """A write that does not end within five seconds is told until one ends or fails; idle time is not."""
        clock, writer = Clock(), HangingWriter()
        write_health = WriteHealth(writer, clock.seconds)
        clock.advance(100)
        write_health.do(None)
        clock.advance(3)
        write_health.do(None)
        clock.advance(2)
        self.assertEqual(write_health.silence, "")
        clock.advance(1)
        self.assertEqual(write_health.silence, "no answer for 6 s")
        writer.waiting[0].callback(None)
        self.assertEqual(write_health.silence, "")
        clock.advance(6)
        self.assertEqual(write_health.silence, "no answer for 6 s")
        writer.waiting[1].addErrback(lambda failure: failure.trap(SpoolFault))
        writer.waiting[1].errback(SpoolFault("gone"))
        clock.advance(100)
        self.assertEqual((write_health.silence, write_health.trouble), ("", "gone"))
