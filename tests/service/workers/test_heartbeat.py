"""A worker says that it lives, whoever listens; what follows from silence is in ``test_process``."""

import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.service.workers.heartbeat import ALIVE, BEAT_EVERY, READY, Heartbeat


class HeartbeatTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.reading, writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.heart = Heartbeat(self.clock, writing)
        self.addCleanup(os.close, writing)

    def test_beats(self) -> None:
        """It is heard at once, then again and again, and says what it is told to say in between."""
        self.heart.start()
        self.heart.say(READY)
        self.clock.pump([BEAT_EVERY] * 2)
        self.assertEqual(os.read(self.reading, 100), ALIVE + READY + 2 * ALIVE)
        os.close(self.reading)

    def test_nobody_reads(self) -> None:
        """A pipe that is full, or has no other end any more, keeps it from nothing."""
        self.heart.say(b"x" * 65536)
        self.heart.say(READY)
        os.close(self.reading)
        self.heart.say(READY)
