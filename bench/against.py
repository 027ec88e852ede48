"""
``python -m bench.against REVISION``: what a change costs, beside the revision before it.

Both relays run at once, each from a checkout of its own, and get the same load in turn, at least seven
times. A figure is the median CPU time of a message, with the lower and the upper quartile behind it. A row
ends with WORSE if our lower quartile is above the other's upper quartile. Needs what ``make bench`` needs,
but no Postfix server.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from bench.ours import ENTRY, NOWHERE, Ours, acs, smarthost
from bench.program import ROOT
from bench.rounds import Results, Side, alternate
from bench.sinks import HttpSink, SmtpSink
from bench.table import machine
from bench.workplace import SIZES, Workplace, spelled, workplace

ROUNDS: Final = 7

#: The rows that end somewhere: the sink, and the provider that goes there. ``accept`` delivers nothing.
SINKS: Final[Mapping[str, tuple[Callable[[Path], SmtpSink | HttpSink], Callable[[int], dict[str, Any]]]]] = {
    "smarthost": (SmtpSink, smarthost),
    "acs": (HttpSink, acs),
}
KINDS: Final = ("accept", *SINKS)


def main(argv: Sequence[str]) -> int:
    """Measure each row, and print it."""
    options = _options(argv)
    print(machine(), flush=True)
    print(f"{'row':24} {'now':>22} {'before':>22}   ratio")
    with checkout(options.revision) as before, workplace(None, options.rounds, quick=options.quick) as work:
        for kind in options.rows or KINDS:
            for size in SIZES:
                results = _measured(work, kind, size, {"now": ROOT, "before": before})
                print(_row(f"{kind}, {spelled(size)}", results), flush=True)
    return 0


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """Give a checkout of ``revision``; it is imported by this Python, from the folder where it is started."""
    with tempfile.TemporaryDirectory(prefix="smtprelay-before-") as name:
        folder = Path(name) / "checkout"
        subprocess.run(["git", "worktree", "add", "--detach", folder, revision], cwd=ROOT, check=True)
        try:
            yield folder
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", folder], cwd=ROOT, check=True)


def _measured(work: Workplace, kind: str, size: int, roots: Mapping[str, Path]) -> Results:
    with ExitStack() as stack:
        sides = [_side(stack, work, kind, name, root) for name, root in roots.items()]
        return alternate(sides, work.load(size), work.rounds)


def _side(stack: ExitStack, work: Workplace, kind: str, name: str, root: Path) -> Side:
    if kind not in SINKS:
        relay = stack.enter_context(
            Ours(work.place(name), {"out": NOWHERE}, program=(ENTRY, kind), root=root)
        )
        return Side(name=name, port=relay.port, pid=relay.pid)
    make, provider = SINKS[kind]
    sink = stack.enter_context(make(work.place("sink")))
    relay = stack.enter_context(Ours(work.place(name), {"out": provider(sink.port)}, root=root))
    return Side(name=name, port=relay.port, pid=relay.pid, sink=sink)


def _row(title: str, results: Results) -> str:
    cells = [_spread([each.cpu for each in results[name]]) for name in ("now", "before")]
    ratio = cells[0][1] / cells[1][1]
    shown = [f"{middle:.3f} ({low:.3f}–{high:.3f}) ms" for low, middle, high in cells]
    apart = cells[0][0] > cells[1][2]
    return f"{title:24} {shown[0]:>22} {shown[1]:>22}   {ratio:.2f}{'  WORSE' if apart else ''}"


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.against")
    parser.add_argument("revision", help="the commit before the change")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--row", dest="rows", action="append", choices=KINDS)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
