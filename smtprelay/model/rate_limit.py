"""
How many messages a pace allows now, and when it allows the next one. Pure.

A window (30 a minute) is kept as counts in twentieths of its length. The
counts of the last twenty-one of them always cover the whole window, so the limit
holds in *any* interval of that length, wherever the provider begins to count; it
costs at most a twentieth of the rate and constant memory.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from smtprelay.model.route import Window

#: Parts in which a window is counted.
PARTS: Final = 20

#: Messages counted, by the number of the part since the epoch, for one window.
Spent = Mapping[int, int]


def allowance(windows: Sequence[Window], spent: Sequence[Spent], now: float) -> tuple[int | None, float]:
    """
    Return how many messages may go now, and when more may go if none may.

    ``(None, now)`` without windows: as many as you like.
    """
    if not windows:
        return None, now
    room, when = math.inf, now
    for window, counts in zip(windows, spent, strict=True):
        left, free = _window_allowance(window, counts, now)
        room, when = min(room, left), max(when, free)
    return max(0, int(room)), when


def spend(windows: Sequence[Window], spent: Sequence[Spent], now: float, count: int) -> list[dict[int, int]]:
    """Return the counts after ``count`` messages went at ``now``; what no window needs is dropped."""
    after = []
    for window, counts in zip(windows, spent, strict=True):
        part = _part(window, now)
        kept = _covering(counts, part)
        kept[part] = kept.get(part, 0) + count
        after.append(kept)
    return after


def nothing_spent(windows: Sequence[Window]) -> list[dict[int, int]]:
    """Return the counts of a provider that was never asked."""
    return [{} for _ in windows]


def _part(window: Window, now: float) -> int:
    return math.floor(now * PARTS / window.seconds)


def _covering(counts: Spent, part: int) -> dict[int, int]:
    """
    Return the counts that a window which ends in ``part`` may hold.

    Those of the near future are among them: the clock was put back. What lies further ahead than
    a window was counted by a wrong clock, and would close the pace until that time comes.
    """
    return {number: count for number, count in counts.items() if abs(number - part) <= PARTS}


def _window_allowance(window: Window, counts: Spent, now: float) -> tuple[int, float]:
    part = _part(window, now)
    covering = _covering(counts, part)
    left = window.count - sum(covering.values())
    if left > 0:
        return left, now
    over = -left
    for number in sorted(covering):
        over -= covering[number]
        if over < 0:
            return 0, (number + PARTS + 1) * window.seconds / PARTS
    return 0, now + window.seconds
