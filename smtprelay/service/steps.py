"""
A clock that is put right while the relay runs.

Twisted counts by the wall clock: when that is put back by a day every timer of the process rings a day late,
and the relay seems to sleep. So a thread compares it with the clock that nobody can put, and when they
part company all timers are moved along, and the relay is told.
"""

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, Final

from twisted.application.service import Service

#: How often the clocks are compared, seconds.
_EVERY: Final = 1.0

#: What is slewed, or late, is no step; seconds.
_LEAST: Final = 2.0


class ClockSteps(Service):
    """
    Watches the clock of ``reactor``, whose timers are all moved when it steps.

    There is to be one in a process, where that is ours.

    :param stepped: is told, on the reactor, by how many seconds the clock was put forward.
    :param steady: seconds of a clock that is never put.
    """

    def __init__(
        self, reactor: Any, stepped: Callable[[float], object], steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._reactor = reactor
        self._stepped = stepped
        self._steady = steady
        self._ahead = 0.0
        self._over = Event()

    def startService(self) -> None:
        """Begin to watch."""
        super().startService()
        self._ahead = self._difference()
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

    def move(self, seconds: float) -> None:
        """Have every timer ring when it would have if the clock had not been put."""
        for call in self._reactor.getDelayedCalls():
            call.delay(seconds)
        self._stepped(seconds)

    def _difference(self) -> float:
        return float(self._reactor.seconds()) - self._steady()

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            step = self.compare()
            if step:
                self._reactor.callFromThread(self.move, step)
