"""
How long a client may take, watched by one timer a session.

The timer is not set again for each command or segment, which would cost more than
reading them; it looks now and then at what has happened since it looked last.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds between two looks at most, and so the longest time that a data rate is averaged over.
PERIOD: Final = 60.0


class Deadline:
    """
    Calls ``expired`` when the client was silent for ``seconds``, and ``look`` now and then.

    :param look: told the seconds since it was called last; between two calls there are
        at most :data:`PERIOD`.
    """

    __slots__ = ("_clock", "_expired", "_heard", "_look", "_looked", "_seconds", "_shortened", "_timer")

    def __init__(
        self,
        clock: IReactorTime,
        seconds: float,
        expired: Callable[[], object],
        look: Callable[[float], object],
    ) -> None:
        self._clock = clock
        self._expired = expired
        self._look = look
        self._heard = self._looked = clock.seconds()
        self._seconds = seconds
        self._shortened = False
        self._timer: IDelayedCall | None = clock.callLater(min(seconds, PERIOD), self._check)

    def touch(self) -> None:
        """The client said something, or waits for us: its time begins anew."""
        self._heard = self._clock.seconds()

    def shorten(self, seconds: float) -> None:
        """From now on, ``seconds`` are all that is left, or what may be silence, whatever the client says."""
        self._shortened = True
        self._set(min(seconds, self._seconds))

    def hurry(self, seconds: float) -> None:
        """From now on no silence may last longer than ``seconds``, whenever it has begun."""
        self._seconds = seconds
        self._set(seconds)

    def _set(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._clock.callLater(seconds, self._end if self._shortened else self._check)

    def cancel(self) -> None:
        """Stop watching."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _check(self) -> None:
        now = self._clock.seconds()
        if self._timer is not None and now - self._timer.getTime() > PERIOD:
            # The clock was put forward, or the machine slept: it was not the client who was silent.
            self._heard = self._looked = now
            self._timer = self._clock.callLater(min(self._seconds, PERIOD), self._check)
            return
        left = self._heard + self._seconds - now
        if left <= 0:
            self._timer = self._clock.callLater(min(self._seconds, PERIOD), self._check)
            self._heard = now
            self._expired()
            return
        self._timer = self._clock.callLater(min(left, PERIOD), self._check)
        elapsed, self._looked = now - self._looked, now
        self._look(elapsed)

    def _end(self) -> None:
        self._timer = None
        self._expired()
