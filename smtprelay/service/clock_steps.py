"""
Corrects the timers of the process when the system clock is changed.

Twisted counts by the wall clock: when that is set back by a day, every timer fires a day late, and the relay
seems to sleep. So a thread compares it with the monotonic clock; when they diverge, the timers are moved, and
the relay moves its times.

That is found up to a second late. Timers that were started since then go by the new time and must not be
moved: they would fire days late.
"""

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, Final
from weakref import WeakSet

from twisted.application.service import Service

#: Seconds between two comparisons of the clocks.
_EVERY: Final = 1.0

#: Most seconds between a change and its detection.
_LATE: Final = 2.0

#: Smaller differences come from slewing or from late iterations; seconds.
_LEAST: Final = 2.0


class ClockSteps(Service):
    """
    Watches the clock of ``reactor``, and moves its timers when the clock is changed.

    A process of our own has one.

    :param clock_stepped: gets, on the reactor, the seconds by which the clock was set forward.
    :param steady: seconds of a clock that is never changed.
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
        self.check()
        Thread(target=self._watch, name="smtprelay-clock", daemon=True).start()

    def stopService(self) -> None:
        """Stop watching."""
        super().stopService()
        self._over.set()

    def check(self) -> None:
        """Compare; if the clock was changed let every timer fire when it would have, and tell the step."""
        step = self._difference() - self._ahead
        if abs(step) >= _LEAST:
            self._ahead += step
            for call in self._reactor.getDelayedCalls():
                if call in self._older or self._seems_older(call, step):
                    call.delay(step)
            self._stepped(step)
        self._older = WeakSet(self._reactor.getDelayedCalls())

    def _seems_older(self, call: Any, seconds: float) -> bool:
        """
        Tell whether a timer of the last moments was started before the clock was changed.

        If the clock was set back, such a timer has all that time still to go. If it was set forward, the
        timer has fired, or fires a little early, which does less harm than firing never.
        """
        left = call.getTime() - self._reactor.seconds()
        return bool(seconds < 0 and left >= -seconds - _LATE)

    def _difference(self) -> float:
        return float(self._reactor.seconds()) - self._steady()

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            self._reactor.callFromThread(self.check)
