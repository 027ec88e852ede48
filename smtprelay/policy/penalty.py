"""
How long somebody who guesses passwords has to wait.

Each failure of a client, and each failure of a user name, doubles the wait before the next
attempt of the same client or name is looked at: hanging up early gains
nothing, and a waiting guess costs no CPU. Who guesses at several processes of a relay
waits for all of it. A device that repeats one wrong
password for ever guesses nothing, so it does not make its neighbours wait longer.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, Protocol

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
#: Bytes by which keys and guesses are told apart.
DIGEST: Final = 8


@define
class _Known:
    last: float
    count: int = 0
    guesses: deque[bytes] = field(factory=lambda: deque(maxlen=8))


class Failures(Protocol):
    """The failures that other processes of the relay see, by digests of :data:`DIGEST` bytes."""

    def tell(self, key: bytes, guess: bytes, when: float) -> None:
        """Tell them of one under ``key``."""

    def heard(self) -> Iterable[tuple[bytes, bytes, float]]:
        """Return those that they told since the last time: key, guess and when."""


class OwnFailures(Failures):
    """There is no other process."""

    def tell(self, _key: bytes, _guess: bytes, _when: float) -> None:
        """Tell nobody."""

    def heard(self) -> Iterable[tuple[bytes, bytes, float]]:
        """Return none."""
        return ()


class Penalties:
    """
    Counts failures by any key: a client's address, a user's name.

    :param others: what other processes see, who hear what this one does.
    """

    def __init__(self, clock: IReactorTime, others: Failures | None = None) -> None:
        self._clock = clock
        self._others = others or OwnFailures()
        self._failures: OrderedDict[bytes, _Known] = OrderedDict()

    def wait(self, keys: Iterable[tuple[str, str]]) -> float:
        """Return how many seconds an attempt under all of ``keys`` has to wait."""
        for key, guess, when in self._others.heard():
            self._count(key, guess, when)
        return max(self._wait(_digest(key)) for key in keys)

    def failed(self, keys: Iterable[tuple[str, str]], guess: bytes) -> None:
        """Count a failure; ``guess``: a digest of user and password, by which repetitions are known."""
        guess, now = guess[:DIGEST], self._clock.seconds()
        for key in map(_digest, keys):
            self._count(key, guess, now)
            self._others.tell(key, guess, now)

    def _count(self, key: bytes, guess: bytes, when: float) -> None:
        failures = self._recent(key) or _Known(when)
        if guess not in failures.guesses:
            failures.guesses.append(guess)
            failures.count += 1
        failures.last = max(failures.last, when)
        self._failures[key] = failures
        self._failures.move_to_end(key)
        if len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)

    def _wait(self, key: bytes) -> float:
        failures = self._recent(key)
        if failures is None or failures.count <= FREE:
            return 0.0
        # The exponent is bounded because a float is not.
        return min(LONGEST, 2.0 ** min(failures.count - FREE - 1, 10))

    def _recent(self, key: bytes) -> _Known | None:
        failures = self._failures.get(key)
        if failures is not None and self._clock.seconds() - failures.last > MEMORY:
            del self._failures[key]
            return None
        return failures


def _digest(key: tuple[str, str]) -> bytes:
    return blake2b("\0".join(key).encode(), digest_size=DIGEST).digest()
