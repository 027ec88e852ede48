"""
From the rounds of two sides to one row: the median of ours, the best of the peer's.
"""

from typing import Final

from bench.rounds import Results, cheapest, fastest, median
from bench.table import Row

#: What must hold, and where we want to be.
Bounds = tuple[float | None, float | None]

NO_BOUNDS: Final[Bounds] = (None, None)
_SHARES: Final = {"busy": "itself", "source": "source", "sink": "sink"}


def cpu_row(measure: str, results: Results, peer: str, bounds: Bounds = NO_BOUNDS) -> Row:
    """Return the row of the CPU that a message costs."""
    own, other = median(results, "ours", "cpu"), cheapest(results, peer)
    must, goal = bounds
    return Row(
        measure=measure,
        ours=f"{own:.3g} ms",
        peer=f"{other:.3g} ms",
        value=own / other,
        must=must,
        goal=goal,
        note=busy(results),
    )


def rate_row(measure: str, results: Results, peer: str, what: str, bounds: Bounds = NO_BOUNDS) -> Row:
    """Return the row of a rate: ``what`` is ``accepted`` or ``delivered``."""
    own, other = median(results, "ours", what), fastest(results, peer, what)
    must, goal = bounds
    return Row(
        measure=measure,
        ours=f"{own:.0f}/s",
        peer=f"{other:.0f}/s",
        value=own / other,
        must=must,
        goal=goal,
        more=True,
        note=busy(results),
    )


def busy(results: Results) -> str:
    """Say how busy everyone was, as shares of one core."""
    parts = []
    for name in results:
        shares = [f"{word} {median(results, name, what):.0%}" for what, word in _SHARES.items()]
        parts.append(f"{name}: {', '.join(shares)}")
    return "; ".join(parts)
