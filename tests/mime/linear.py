"""How the cost of a pure function grows with its input."""

import time
from collections.abc import Callable
from typing import Any

#: Twice the input may cost so many times as much: twice, and what measuring is off by.
LIMIT = 2.3
#: Shorter runs measure nothing.
_SECONDS = 0.006


def growth(
    run: Callable[[Any], object], make: Callable[[int], object], size: int = 5_000, largest: int = 300_000
) -> float:
    """
    Return how many times the CPU time of ``run`` grows when ``make`` makes an input of twice the size.

    Measured by four times the size, and by the shortest of several runs of each, at up to three sizes: what
    is quadratic is so each time, what the memory allocator does is not. An input made of the size ``largest``
    that takes less than can be measured is cheap enough.
    """
    while _cost(run, make(size)) < _SECONDS:
        if size >= largest:
            return 1.0
        size *= 2
    best = 10.0
    for times in (1, 2, 4):
        best = min(best, _growth(run, make(times * size), make(4 * times * size)))
        if best <= LIMIT:
            break
    return best


def _growth(run: Callable[[Any], object], once: object, fourfold: object) -> float:
    first, second = _cost(run, once), _cost(run, fourfold)
    for _ in range(5):
        if second <= LIMIT**2 * first:
            break
        first, second = min(first, _cost(run, once)), min(second, _cost(run, fourfold))
    return float((second / first) ** 0.5)


def _cost(run: Callable[[Any], object], value: object) -> float:
    began = time.process_time()
    run(value)
    return time.process_time() - began
