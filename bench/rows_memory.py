"""
Rows about memory: of connections that do nothing, and of many large messages at once.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack

from bench.load import Conversation, Load, send
from bench.measure import forget_peak, peak, resident, settled_cpu
from bench.ours import ENTRY, NOWHERE, Ours, smarthost
from bench.program import Program
from bench.sinks import SmtpSink
from bench.table import Row
from bench.workplace import Workplace

_CONNECTIONS = 2000
_MIB = 1 << 20
_LARGE = Load(20_000_000, 20, 20)


def idle_connection(work: Workplace) -> Iterator[Row]:
    """Memory of a connection that has said EHLO, and then nothing."""
    count = work.scaled(_CONNECTIONS)
    with ExitStack() as stack:
        ours = stack.enter_context(Ours(work.place("idle"), {"out": NOWHERE}))
        first = [Conversation(ours.port) for _ in range(50)]
        before = resident(ours.pid)
        more = [Conversation(ours.port) for _ in range(count)]
        size = (resident(ours.pid) - before) / count
        for each in (*first, *more):
            each.close()
    yield Row(
        measure="memory of an idle connection",
        ours=f"{size / 1000:.1f} KB",
        value=size / 1000,
        must=10,
        goal=6,
        note=f"resident memory of the process, {count} connections after EHLO",
    )


def large_messages(work: Workplace) -> Iterator[Row]:
    """Memory of 20 messages of 20 MB at once: taken only, and taken and delivered."""
    with Ours(work.place("large"), {"out": NOWHERE}, program=(ENTRY, "accept")) as ours:
        yield _large_row("20 × 20 MB at once, accepted", ours.port, ours)
    with ExitStack() as stack:
        sink = stack.enter_context(SmtpSink(work.place("sink")))
        ours = stack.enter_context(Ours(work.place("large"), {"out": smarthost(sink.port, 20)}))
        yield _large_row("20 × 20 MB at once, relayed by smarthost", ours.port, ours, sink)


def _large_row(measure: str, port: int, relay: Program, sink: SmtpSink | None = None) -> Row:
    send(port, Load(10_000, 200, 20))
    settled_cpu(relay.pid)
    before, had = resident(relay.pid), sink.count() if sink else 0
    forget_peak(relay.pid)
    source = send(port, _LARGE)
    deadline = time.monotonic() + 60
    while sink is not None and sink.count() < had + _LARGE.messages and time.monotonic() < deadline:
        time.sleep(0.05)
    above = (peak(relay.pid) - before) / _MIB
    return Row(
        measure=measure,
        ours=f"{above:.0f} MiB",
        value=above,
        must=32,
        goal=16,
        note=f"peak above {before / _MIB:.0f} MiB; accepted in {source.seconds:.1f} s",
    )
