"""
A clock that is put right while the relay runs.

Twisted counts by the wall clock: when that is put back by a day every timer of the process rings a day late,
and the relay seems to sleep. So a thread compares it with the clock that nobody can put, and when they
part company the timers are moved along, and the relay is told.

It is found out up to a second late. Timers that were set since then know the new time: one of these that was
moved along would ring days late, and what waits for it would stand still.
"""

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, Final
from weakref import WeakSet

from twisted.application.service import Service

#: How often the clocks are compared, seconds.
_EVERY: Final = 1.0

#: How long ago the clock was put at most when that is found; seconds.
_LATE: Final = 2.0

#: What is slewed, or late, is no step; seconds.
_LEAST: Final = 2.0


class ClockSteps(Service):
    """
    Watches the clock of ``reactor``, whose timers are moved when it steps.

    There is to be one in a process, where that is ours.

    :param clock_stepped: is told, on the reactor, by how many seconds the clock was put forward.
    :param steady: seconds of a clock that is never put.
    """

    def __init__(
        self,
        reactor: Any,
        clock_stepped: Callable[[float], object],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reactor = reactor
        self._stepped = clock_stepped
        self._steady = steady
        self._ahead = 0.0
        self._older: WeakSet[Any] = WeakSet()
        self._over = Event()

    def startService(self) -> None:
        """Begin to watch."""
        super().startService()
        self._ahead = self._difference()
        self.look()
        Thread(target=self._watch, name="smtprelay-clock", daemon=True).start()

    def stopService(self) -> None:
        """Watch no more."""
        super().stopService()
        self._over.set()

    def compare(self) -> float:
        """Return by how many seconds the clock was put forward since this was last asked; 0 for no step."""
        step = self._difference() - self._ahead
        if abs(step) < _LEAST:
            return 0.0
        self._ahead += step
        return step

    def look(self) -> None:
        """Compare; move the timers if the clock was put, else note which of them know the time as it is."""
        step = self.compare()
        if step:
            self.move(step)
        self._older = WeakSet(self._reactor.getDelayedCalls())

    def move(self, seconds: float) -> None:
        """Have every timer ring when it would have if the clock had not been put."""
        for call in self._reactor.getDelayedCalls():
            if call in self._older or self._seems_older(call, seconds):
                call.delay(seconds)
        self._stepped(seconds)

    def _seems_older(self, call: Any, seconds: float) -> bool:
        """
        Tell whether a timer of the last moments was set before the clock was put.

        One of a clock that was put back has all that time still to go. One of a clock that was put forward
        has rung, or rings a little early; that does less harm than one that never rings.
        """
        left = call.getTime() - self._reactor.seconds()
        return bool(seconds < 0 and left >= -seconds - _LATE)

    def _difference(self) -> float:
        return float(self._reactor.seconds()) - self._steady()

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            self._reactor.callFromThread(self.look)
