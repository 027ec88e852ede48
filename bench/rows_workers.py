"""
The row about several workers: what a second one brings where clients wait for the provider's verdict.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from bench.comparison import busy
from bench.measure import free_cores
from bench.ours import Ours, acs
from bench.rounds import Side, alternate, median
from bench.sinks import HttpSink
from bench.table import Row
from bench.workplace import Workplace

_WORKERS: Final = {"one": 1, "two": 2}
_SESSIONS: Final = 50
#: So many that no session waits for a slot, also where one worker has most of the sessions.
_CONCURRENCY: Final = 200


def workers(work: Workplace) -> Iterator[Row]:
    """Messages a second of two workers without a spool, beside those of one; their sinks answer at once."""
    before = free_cores()
    with ExitStack() as stack:
        sides = []
        for name, count in _WORKERS.items():
            sink = stack.enter_context(HttpSink(work.place("sink")))
            relay = Ours(work.place(name), {"out": acs(sink.port, _CONCURRENCY)}, synchronous=count)
            stack.enter_context(relay)
            sides.append(Side(name=name, port=relay.port, pid=relay.pid, sink=sink))
        results = alternate(sides, work.load(10_000, _SESSIONS), work.rounds)
    free = f"{before:.1f} and {free_cores():.1f} cores were free before and after"
    one, two = (median(results, name, "delivered") for name in _WORKERS)
    rounds = ", ".join(
        f"{alone.delivered:.0f} → {both.delivered:.0f}"
        for alone, both in zip(results["one"], results["two"], strict=True)
    )
    costs = " → ".join(f"{median(results, name, 'cpu'):.2f} ms" for name in _WORKERS)
    yield Row(
        measure="relayed, synchronous, 2 workers ÷ 1",
        ours=f"{two:.0f}/s",
        peer=f"{one:.0f}/s",
        value=two / one,
        must=1.6,
        goal=1.9,
        more=True,
        note=f"rounds: {rounds}; CPU a message: {costs}; {free}; {busy(results)}",
    )
