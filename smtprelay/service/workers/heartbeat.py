"""
What a worker tells the supervisor, a byte for each thing, from its reactor.

A worker that hangs says nothing any more, and is noticed by that.
"""

import os
from contextlib import suppress
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

#: What a worker says: that it lives, that it waits for its spool's database, that it takes mail.
ALIVE: Final = b"."
WAITING: Final = b"w"
READY: Final = b"r"

#: How often a worker says that it lives, seconds.
BEAT_EVERY: Final = 1.0

#: How often the supervisor checks the heartbeats, seconds.
CHECK_EVERY: Final = 5.0

#: Looks in vain before a worker is killed. Nothing that a relay does takes a hundredth of that.
MOST_MISSED: Final = 6


class Heartbeat:
    """
    A worker's end of the pipe.

    :param descriptor: of the pipe. What cannot be written is lost, and does not block.
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
        """Write one of :data:`ALIVE`, :data:`WAITING`, :data:`READY` to the pipe."""
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._descriptor, what)
