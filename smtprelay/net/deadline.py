"""
Time limits: of a client's silence, of a session, and of many requests.

A new delayed call for each command, segment or request would cost more than the work itself. So each of these
has one timer, which checks now and then what has happened since.
"""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")

#: Seconds between two checks at most, and so the longest time that a data rate is averaged over.
PERIOD: Final = 60.0


class SilenceDeadline:
    """
    Calls ``expired`` when the client was silent for ``seconds``, and ``periodic`` now and then.

    :param periodic: called with the seconds since its last call; between two calls there are
        at most :data:`PERIOD`.
    """

    __slots__ = (
        "_clock",
        "_expired",
        "_last_check",
        "_last_octets",
        "_periodic",
        "_seconds",
        "_shortened",
        "_timer",
    )

    def __init__(
        self,
        clock: IReactorTime,
        seconds: float,
        expired: Callable[[], object],
        periodic: Callable[[float], object],
    ) -> None:
        self._clock = clock
        self._expired = expired
        self._periodic = periodic
        self._last_octets = self._last_check = clock.seconds()
        self._seconds = seconds
        self._shortened = False
        self._timer: IDelayedCall | None = clock.callLater(min(seconds, PERIOD), self._check)

    def touch(self) -> None:
        """Begin the client's time anew: it sent something, or waits for us."""
        self._last_octets = self._clock.seconds()

    def shorten(self, seconds: float) -> None:
        """From now on, ``seconds`` are all that is left, or what may be silence, whatever the client says."""
        self._shortened = True
        self._set(min(seconds, self._seconds))

    def limit_silence(self, seconds: float) -> None:
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
            # The clock was set forward, or the machine slept: the client was not silent.
            self._last_octets = self._last_check = now
            self._timer = self._clock.callLater(min(self._seconds, PERIOD), self._check)
            return
        left = self._last_octets + self._seconds - now
        if left <= 0:
            self._timer = self._clock.callLater(min(self._seconds, PERIOD), self._check)
            self._last_octets = now
            self._expired()
            return
        self._timer = self._clock.callLater(min(left, PERIOD), self._check)
        elapsed, self._last_check = now - self._last_check, now
        self._periodic(elapsed)

    def _end(self) -> None:
        self._timer = None
        self._expired()


class Deadline:
    """A time that is moved often and reached seldom."""

    def __init__(self, clock: IReactorTime, reached: Callable[[], None]) -> None:
        self._clock = clock
        self._reached = reached
        self._at = 0.0
        self._call: IDelayedCall | None = None

    def set(self, seconds: float) -> None:
        """Move the deadline to ``seconds`` from now."""
        self._at = self._clock.seconds() + seconds
        if self._call is None:
            self._call = self._clock.callLater(seconds, self._check)
        elif self._at < self._call.getTime():
            self._call.reset(seconds)

    def stop(self) -> None:
        """Cancel the deadline."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _check(self) -> None:
        self._call = None
        left = self._at - self._clock.seconds()
        if left > 0:
            self._call = self._clock.callLater(left, self._check)
        else:
            self._reached()


class Deadlines(Generic[T]):
    """
    Calls ``expire`` with each item that was not taken out within ``seconds``.

    :param seconds: the same for all, so that the timer is right for each that comes later.
    """

    def __init__(self, clock: IReactorTime, seconds: float, expire: Callable[[T], object]) -> None:
        self.seconds = seconds
        self._clock = clock
        self._expire = expire
        self._due: dict[T, float] = {}
        self._timer: IDelayedCall | None = None

    def begin(self, item: T) -> None:
        """Watch ``item`` from now on."""
        self._due[item] = self._clock.seconds() + self.seconds
        if self._timer is None:
            self._timer = self._clock.callLater(self.seconds, self._check)

    def renew(self, item: T) -> None:
        """Give ``item`` its whole time again, if it is watched."""
        if self.end(item):
            self.begin(item)

    def end(self, item: T) -> bool:
        """Watch ``item`` no longer; ``False``: it was not watched, or has expired."""
        return self._due.pop(item, None) is not None

    def stop(self) -> None:
        """Leave no delayed call behind if nothing is watched any more."""
        if self._timer is not None and not self._due:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        for item in [item for item, due in self._due.items() if due <= now]:
            if self.end(item):
                self._expire(item)
        if self._due and self._timer is None:
            self._timer = self._clock.callLater(min(self._due.values()) - now, self._check)
