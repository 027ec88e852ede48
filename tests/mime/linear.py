"""How the cost of a pure function grows with its input."""

import time
from collections.abc import Callable
from typing import Any

#: Twice the input may cost so many times as much: twice, and what measuring is off by.
LIMIT = 2.3
#: Shorter runs measure nothing; an input of so many characters that takes less is cheap enough.
_SECONDS, _LARGEST = 0.006, 2_000_000


def growth(run: Callable[[Any], object], make: Callable[[int], object], size: int = 20_000) -> float:
    """
    Return how many times the CPU time of ``run`` grows when ``make`` makes an input of twice the size.

    The best of several measurements: what is quadratic is so each time.
    """
    while _cost(run, make(size)) < _SECONDS and size < _LARGEST:
        size *= 2
    once, twice = make(size), make(2 * size)
    best = 10.0
    for _ in range(8):
        first, second = _cost(run, once), _cost(run, twice)
        if second < _SECONDS:
            return 1.0
        best = min(best, second / first)
        if best <= LIMIT:
            break
    return best


def _cost(run: Callable[[Any], object], value: object) -> float:
    began = time.process_time()
    run(value)
    return time.process_time() - began
