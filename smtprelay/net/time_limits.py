"""
Many deadlines of one length, kept by one timer.

A request almost never misses its deadline. A delayed call for each, made and cancelled,
costs more than a look now and then at those that are due.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")


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
            self._timer = self._clock.callLater(self.seconds, self._look)

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

    def _look(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        for item in [item for item, due in self._due.items() if due <= now]:
            if self.end(item):
                self._expire(item)
        if self._due and self._timer is None:
            self._timer = self._clock.callLater(min(self._due.values()) - now, self._look)
