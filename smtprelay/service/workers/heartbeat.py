"""
How a worker that stands still is noticed.

It cannot say so. So each worker writes a byte now and then, from its reactor, and the process in front looks
now and then whether some came. It counts its own looks, not the time: whatever stops both of them, a machine
that sleeps, a container that is paused, or a clock that is put, makes nobody look dead.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

#: What a worker says, a byte each: that it lives, that it waits for its spool's database, that it takes mail.
ALIVE: Final = b"."
WAITING: Final = b"w"
READY: Final = b"r"

#: How often a worker says that it lives, seconds.
BEAT_EVERY: Final = 1.0

#: How often somebody looks, seconds.
LOOK_EVERY: Final = 5.0

#: Looks in vain before a worker is given up. Nothing that a relay does lasts for a hundredth of that.
MOST_LOOKS: Final = 6


class Heartbeat:
    """
    What a worker tells the process in front.

    :param descriptor: of a pipe. When nobody reads there what is said is lost, and nobody waits.
    """

    def __init__(self, clock: IReactorTime, descriptor: int) -> None:
        self._clock = clock
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)

    def start(self) -> None:
        """Beat from now on."""
        beating = LoopingCall(self.say, ALIVE)
        beating.clock = self._clock
        beating.start(BEAT_EVERY)

    def say(self, what: bytes) -> None:
        """Say one thing."""
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._descriptor, what)


class HeartbeatMonitor:
    """
    Looks whether anything was heard of those who were heard once.

    :param silent: called with the number of one who was not, once.
    """

    def __init__(self, clock: IReactorTime, silent: Callable[[int], object]) -> None:
        self._silent = silent
        self._looks: dict[int, int] = {}
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock

    def start(self) -> Deferred[LoopingCall]:
        """Look from now on."""
        return self._looking.start(LOOK_EVERY, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._looking.running:
            self._looking.stop()

    def heard(self, number: int) -> None:
        """Hear of somebody."""
        self._looks[number] = 0

    def forget(self, number: int) -> None:
        """Expect nothing of somebody any more."""
        self._looks.pop(number, None)

    def _look(self) -> None:
        for number, looks in list(self._looks.items()):
            self._looks[number] = looks + 1
            if looks >= MOST_LOOKS:
                self.forget(number)
                self._silent(number)
