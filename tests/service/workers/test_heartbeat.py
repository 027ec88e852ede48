"""Who stands still is noticed, and nobody else is taken for that."""

import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.service.workers.heartbeat import (
    ALIVE,
    BEAT_EVERY,
    LOOK_EVERY,
    MOST_LOOKS,
    READY,
    Heartbeat,
    HeartbeatMonitor,
)

BOUND = LOOK_EVERY * MOST_LOOKS


class VigilTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.silent: list[int] = []
        self.vigil = HeartbeatMonitor(self.clock, self.silent.append)
        self.vigil.start()
        self.addCleanup(self.vigil.stop)

    def pass_time(self, seconds: float, *alive: int) -> None:
        """Let time pass in which ``alive`` are heard."""
        for _ in range(round(seconds)):
            self.clock.advance(1.0)
            for number in alive:
                self.vigil.heard(number)

    def test_one_who_is_not_heard(self) -> None:
        """It is told once, when the bound is reached, whatever the others do."""
        self.pass_time(1, 1, 2)
        self.pass_time(BOUND - 2, 2)
        self.assertEqual(self.silent, [])
        self.pass_time(2 * LOOK_EVERY, 2)
        self.assertEqual(self.silent, [1])
        self.pass_time(10 * BOUND, 2)
        self.assertEqual(self.silent, [1])

    def test_one_who_was_never_heard(self) -> None:
        """To start may take as long as it takes."""
        self.pass_time(10 * BOUND)
        self.assertEqual(self.silent, [])

    def test_one_who_has_ended(self) -> None:
        """Nothing is expected of it."""
        self.vigil.heard(1)
        self.vigil.forget(1)
        self.pass_time(10 * BOUND)
        self.assertEqual(self.silent, [])

    def test_a_break(self) -> None:
        """A machine that slept, or a clock that was put forward, is no silence: nobody has looked."""
        self.pass_time(BOUND, 1)
        self.clock.advance(86400.0)
        self.pass_time(BOUND, 1)
        self.assertEqual(self.silent, [])


class HeartTests(SynchronousTestCase):
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
