"""How the cost of a pure function grows with its input."""

import time
from collections.abc import Callable
from typing import Any

#: Twice the input may cost so many times as much: twice, and what measuring is off by.
LIMIT = 2.3
#: Shorter runs measure nothing; one of a longer one is enough.
_SECONDS = 0.002
_LONG = 0.004


def growth(
    run: Callable[[Any], object], make: Callable[[int], object], size: int = 5_000, largest: int = 300_000
) -> float:
    """
    Return how many times the CPU time of ``run`` grows when ``make`` makes an input of twice the size.

    Measured by four times the size, at the largest size that takes no long run: what is quadratic and not all
    of the work shows there first. The shortest of several runs counts; and if it seems to grow, that of half
    the size, too, where it grows as well, unless it was the memory allocator. An input made of the size
    ``largest`` that takes less than can be measured is cheap enough.
    """
    cost = _cost(run, make(size))
    while 8 * size <= largest and cost < _LONG:
        size *= 2
        cost = _cost(run, make(size))
    if cost < _SECONDS and _cost(run, make(4 * size)) < _SECONDS:
        return 1.0
    found = _growth(run, make(size), make(4 * size))
    return found if found <= LIMIT else min(found, _growth(run, make(size // 2), make(2 * size)))


def _growth(run: Callable[[Any], object], once: object, fourfold: object) -> float:
    first, second = _cost(run, once), _cost(run, fourfold)
    for _ in range(10):
        if second <= LIMIT**2 * first:
            break
        first, second = min(first, _cost(run, once)), min(second, _cost(run, fourfold))
    return float((second / first) ** 0.5)


def _cost(run: Callable[[Any], object], value: object) -> float:
    began = time.process_time()
    run(value)
    return time.process_time() - began
