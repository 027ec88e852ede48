"""
The time of a spool in a database, for the node that works with it.

What a node writes into the spool the others judge by the database's clock: when mail is due again, until
when a lane is blocked, how old a mail is. So a node takes its time from there, and its own clock, which may
be hours off or be put while it runs, only has to tick.
"""

import time
from collections.abc import Callable
from typing import Any, Final

#: Maximum difference in seconds before the database is asked again: some answers are late.
_MOST: Final = 0.5


class DatabaseClock:
    """
    The timers of ``reactor``, and the time of the database.

    :param steady: gives seconds that only grow, on any thread.
    """

    def __init__(self, reactor: Any, steady: Callable[[], float] = time.monotonic) -> None:
        self._reactor = reactor
        self._steady = steady
        self._ahead: float | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def learn(self, now: float) -> None:
        """Note what time the database has just now; on any thread."""
        ahead = now - self._steady()
        if self._ahead is None or abs(ahead - self._ahead) > _MOST:
            self._ahead = ahead

    def seconds(self) -> float:
        """Return the database's time, seconds since the epoch; the reactor's before its first answer."""
        return float(self._reactor.seconds()) if self._ahead is None else self._ahead + self._steady()
