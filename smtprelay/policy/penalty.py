"""
How long somebody who guesses passwords has to wait.

Each failure of a client, and each failure of a user name, doubles the wait before the next
attempt of the same client or name is looked at: hanging up early gains
nothing, and a waiting guess costs no CPU. A device that repeats one wrong
password for ever guesses nothing, so it does not make its neighbours wait longer.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

#: The first failures cost nothing: people mistype.
FREE: Final = 2
#: Seconds; below the 60 s after which impatient devices hang up.
LONGEST: Final = 15.0
#: Seconds without a failure after which it is forgotten.
MEMORY: Final = 900.0
#: So many clients and names are remembered, those that failed last.
REMEMBERED: Final = 10_000


@define
class _Failures:
    last: float
    count: int = 0
    guesses: deque[bytes] = field(factory=lambda: deque(maxlen=8))


class Penalties:
    """Counts failures by any key: a client's address, a user's name."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def wait(self, keys: Iterable[tuple[str, str]]) -> float:
        """Return how many seconds an attempt under all of ``keys`` has to wait."""
        return max(self._wait(key) for key in keys)

    def failed(self, keys: Iterable[tuple[str, str]], guess: bytes) -> None:
        """Count a failure; ``guess``: a digest of user and password, by which repetitions are known."""
        for key in keys:
            failures = self._recent(key) or _Failures(0.0)
            if guess not in failures.guesses:
                failures.guesses.append(guess)
                failures.count += 1
            failures.last = self._clock.seconds()
            self._failures[key] = failures
            self._failures.move_to_end(key)
        while len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)

    def _wait(self, key: tuple[str, str]) -> float:
        failures = self._recent(key)
        if failures is None or failures.count <= FREE:
            return 0.0
        # The exponent is bounded because a float is not.
        return min(LONGEST, 2.0 ** min(failures.count - FREE - 1, 10))

    def _recent(self, key: tuple[str, str]) -> _Failures | None:
        failures = self._failures.get(key)
        if failures is not None and self._clock.seconds() - failures.last > MEMORY:
            del self._failures[key]
            return None
        return failures
