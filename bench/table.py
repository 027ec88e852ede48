"""
The result: a table for people, kept as a file beside the earlier ones.
"""

import os
import platform
import time
import timeit
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from attrs import frozen

RESULTS: Final = Path(__file__).parent / "results"

#: Tells interpreters apart that were built with and without optimizations.
_STEPS: Final = "kept['%d' % 1] = [(1, 2)]"

_HEADINGS: Final = ("measure", "ours", "peer", "ratio", "must", "goal", "verdict")


@frozen(kw_only=True)
class Row:
    """
    One measure.

    :ivar ours: with its unit, as shown; so ``peer``.
    :ivar value: what ``must`` and ``goal`` are about: mostly a ratio; ``None`` is not measured.
    :ivar more: more is better.
    :ivar note: how busy source and sink were, or whatever else one must know to believe it.
    """

    measure: str
    ours: str
    peer: str = "–"
    value: float | None
    must: float | None = None
    goal: float | None = None
    more: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """``goal``, ``must`` (kept), ``MISSED``, or nothing where nothing is asked."""
        if self.value is None:
            return "not measured"
        if self.must is None or self.goal is None:
            return ""
        sign = -1 if self.more else 1
        if sign * self.value <= sign * self.goal:
            return "goal"
        return "must" if sign * self.value <= sign * self.must else "MISSED"


def render(rows: Sequence[Row]) -> str:
    """Return the table, and the notes below it."""
    cells = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    notes = [f"{row.measure}: {row.note}" for row in rows if row.note]
    return "\n".join([machine(), "", *lines, "", *notes, ""])


def save(text: str) -> Path:
    """Keep the table; return where."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{time.strftime('%Y-%m-%d-%H%M%S')}.txt"
    file.write_text(text)
    return file


def machine() -> str:
    """Say on what was measured."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in cpus if line.startswith("model name")]
    steps = min(timeit.repeat(_STEPS, "kept = {}", number=100_000, repeat=5)) * 1e4
    python = f"Python {platform.python_version()} ({steps:.0f} ns for {_STEPS})"
    packages = ", ".join(f"{name} {version(name)}" for name in ("twisted", "treq"))
    return (
        f"{time.strftime('%Y-%m-%d %H:%M')}: {os.cpu_count()} × {names[0] if names else platform.machine()},"
        f" Linux {platform.release()}, {python}, {packages};"
        f" load before: {os.getloadavg()[0]:.1f}"
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.measure,
        row.ours,
        row.peer,
        *("–" if number is None else f"{number:.3g}" for number in (row.value, row.must, row.goal)),
        row.verdict,
    )
