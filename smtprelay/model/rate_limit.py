"""
How many requests a rate allows now, and when it allows the next one. Pure.

A window (30 a minute) is kept as counts in twentieths of its length. The
counts of the last twenty-one of them always cover the whole window, so the limit
holds in *any* interval of that length, wherever the provider begins to count; it
costs at most a twentieth of the rate and constant memory.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from smtprelay.model.route import Window

#: Parts in which a window is counted.
PARTS: Final = 20

#: What was counted in one window, by the number of the part since the epoch.
Spent = Mapping[int, int]


@frozen(kw_only=True)
class Load:
    """What one request counts in a window of each unit."""

    messages: int = 1
    recipients: int = 1
    bytes: int = 1

    def in_window(self, window: Window) -> int:
        """Return what must be free; a request beyond the whole window waits until that is empty."""
        count: int = getattr(self, window.unit)
        return max(1, min(count, window.count))


#: The least that a request can be.
LEAST: Final = Load()


def allowance(
    windows: Sequence[Window], spent: Sequence[Spent], now: float, load: Load = LEAST
) -> tuple[int | None, float]:
    """
    Return how many requests of this load may go now, and when one may go if none may.

    ``(None, now)`` without windows: as many as you like.
    """
    if not windows:
        return None, now
    room, when = math.inf, now
    for window, counts in zip(windows, spent, strict=True):
        wanted = load.in_window(window)
        left, free = _window_allowance(window, counts, now, wanted)
        room, when = min(room, left // wanted), max(when, free)
    return max(0, int(room)), when


def spend(windows: Sequence[Window], spent: Sequence[Spent], now: float, load: Load) -> list[dict[int, int]]:
    """Return the counts after a request of this load went at ``now``; what no window needs is dropped."""
    after = []
    for window, counts in zip(windows, spent, strict=True):
        part = _part(window, now)
        kept = _covering(window, counts, part)
        kept[part] = kept.get(part, 0) + max(1, getattr(load, window.unit))
        after.append(kept)
    return after


def _part(window: Window, now: float) -> int:
    return math.floor(now * PARTS / window.seconds)


def _covering(window: Window, counts: Spent, part: int) -> dict[int, int]:
    """
    Return the counts that a window which ends in ``part`` may hold.

    Counts of the near future are included: the system clock was changed. What lies further ahead than
    a window was counted by a wrong clock, and would close the window until that time comes.
    """
    return {
        number: count
        for number, count in counts.items()
        if part - _lasts(window, count) <= number <= part + PARTS
    }


def _lasts(window: Window, count: int) -> int:
    """Return for how many parts a count fills a window: what is more than the window allows, for several."""
    return PARTS if count <= window.count else math.ceil(PARTS * count / window.count)


def _window_allowance(window: Window, counts: Spent, now: float, wanted: int) -> tuple[int, float]:
    """Return what is left now, and when as much as ``wanted`` is."""
    covering = _covering(window, counts, _part(window, now))
    left = free = window.count - sum(covering.values())
    if free >= wanted:
        return left, now
    for end, count in sorted((number + _lasts(window, count), count) for number, count in covering.items()):
        free += count
        if free >= wanted:
            return left, (end + 1) * window.seconds / PARTS
    return left, now + window.seconds
