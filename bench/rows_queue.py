"""
Rows about a queue that is long: what waits must not slow down what goes.
"""

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from bench.comparison import NO_BOUNDS, Bounds
from bench.control import asked
from bench.load import Conversation
from bench.measure import resident
from bench.ours import NOWHERE, Ours, acs, smarthost
from bench.queue_file import Many, block, connect, defer, engine_of, fill
from bench.rounds import Side, alternate, median
from bench.sinks import HttpSink, SmtpSink
from bench.table import Row
from bench.workplace import Workplace
from smtprelay.dispatch.decision import returned
from smtprelay.spool.operations.claim import claim
from smtprelay.spool.operations.settle import settle

_MILLION = 1_000_000
_BEHIND = 100_000
_SINGLE_MAILS = 50
_CLAIMS = 100
#: So late a provider answers that hangs, seconds.
_FOR_EVER = 86400.0


def million(work: Workplace) -> Iterator[Row]:
    """A relay that starts with a million deliveries which all wait for later."""
    many = Many("out", work.scaled(_MILLION))
    folder = work.place("million")
    fill(folder / "spool", many)
    defer(folder / "spool", many)
    began = time.monotonic()
    with Ours(folder, {"out": NOWHERE}) as relay:
        until_greeting = time.monotonic() - began
        short = [asked(relay.control, "/api/v1/queue?limit=50").seconds for _ in range(5)]
        long = [asked(relay.control, "/api/v1/queue?limit=1000").seconds for _ in range(5)]
        memory = resident(relay.pid) / (1 << 20)
    size = (folder / "spool/spool.db").stat().st_size >> 20
    about = f"{many.count} deferred of 1 KB, {size} MiB on disk, read before"
    yield alone("start to first 220", until_greeting, "s", (5, 1), about)
    first, slowest = short[0] * 1000, max(short) * 1000
    note = f"by the control socket, 50 lines; first {first:.1f}, slowest {slowest:.1f} ms"
    listed, longer = statistics.median(short) * 1000, statistics.median(long) * 1000
    yield alone("queue list, a million deferred", listed, "ms", (50, 10), note)
    yield alone("queue list of 1000 lines, a million deferred", longer, "ms")
    yield alone("memory, a million deferred", memory, "MiB", (150, 100), about)
    cost = _claim_cost(folder / "spool", "out", _CLAIMS // 5, found=False)
    yield alone("claim, a million deferred", cost, "ms", (50, 10), "without the sync; nothing is due")


def claim_cost(work: Workplace) -> Iterator[Row]:
    """One claim, with so much in its lane."""
    costs = {}
    for count in (10, 1000, 100_000):
        folder = work.place("claim") / "spool"
        fill(folder, Many("out", count))
        costs[count] = _claim_cost(folder, "out", work.scaled(_CLAIMS), found=True)
    for count, cost in costs.items():
        note = "one delivery claimed, without the sync"
        yield alone(f"claim with {count} queued", cost, "ms", note=note)
    yield alone("claim, 100,000 ÷ 10 queued", costs[100_000] / costs[10], "times")


def behind(work: Workplace) -> Iterator[Row]:
    """A single mail on a free route, while many are due in a blocked lane, or at a provider that hangs."""
    many = Many("stuck", work.scaled(_BEHIND))
    blocked, hanging = work.place("blocked"), work.place("hanging")
    for folder in (blocked, hanging):
        fill(folder / "spool", many)
    block(blocked / "spool", many)
    with ExitStack() as stack:
        silent = stack.enter_context(HttpSink(work.place("sink"), latency=_FOR_EVER))
        idle = _single_mails(work, work.place("idle"), NOWHERE)
        times = {
            "behind a block": _single_mails(work, blocked, NOWHERE),
            "at a provider that hangs": _single_mails(work, hanging, acs(silent.port, 10)),
        }
    for place, seconds in times.items():
        yield Row(
            measure=f"single mail, {many.count} due {place} ÷ idle",
            ours=f"{seconds * 1000:.2f} ms",
            peer=f"{idle * 1000:.2f} ms",
            value=seconds / idle,
            note="median from MAIL to the provider's having it",
        )


def growth(work: Workplace) -> Iterator[Row]:
    """What a message that comes and goes costs, with so many others that wait for later."""
    least = 0.0
    for count in (1_000, 10_000, 100_000, 1_000_000):
        many, folder = Many("later", work.scaled(count)), work.place("growth")
        fill(folder / "spool", many)
        defer(folder / "spool", many)
        with ExitStack() as stack:
            sink = stack.enter_context(SmtpSink(work.place("sink")))
            spool = {"path": str(folder / "spool"), "limit": {"messages": 2 * _MILLION}}
            providers = {"free": smarthost(sink.port), "later": NOWHERE}
            relay = stack.enter_context(Ours(folder, providers, spool=spool))
            side = Side(name="ours", port=relay.port, pid=relay.pid, sink=sink)
            cost = median(alternate([side], work.load(10_000), work.rounds), "ours", "cpu")
        least = least or cost
        yield Row(
            measure=f"relay CPU, smarthost, 10 KB, {many.count} queued",
            ours=f"{cost:.3g} ms",
            value=cost / least,
            note="÷ that with the fewest",
        )


def _single_mails(work: Workplace, folder: Path, stuck: Mapping[str, Any]) -> float:
    """Return the median time from MAIL until a free provider has the mail, in seconds."""
    with ExitStack() as stack:
        sink = stack.enter_context(HttpSink(work.place("sink")))
        relay = stack.enter_context(Ours(folder, {"free": acs(sink.port), "stuck": stuck}))
        conversation = stack.enter_context(closing(Conversation(relay.port)))
        # The first ones open connections.
        times = [_single_mail(conversation, sink) for _ in range(work.scaled(_SINGLE_MAILS) + 5)]
    return statistics.median(times[5:])


def _single_mail(conversation: Conversation, sink: HttpSink) -> float:
    time.sleep(0.05)
    before, began = sink.count(), time.monotonic()
    conversation.send(b"Subject: single\r\n\r\n" + b"x" * 70)
    while sink.count() == before:
        if time.monotonic() - began > 30:
            raise RuntimeError("a single mail was not delivered within 30 s")
        time.sleep(0.0001)
    return time.monotonic() - began


def _claim_cost(spool: Path, provider: str, count: int, *, found: bool) -> float:
    """Return the median of one claim, milliseconds; what it claimed is given back."""
    engine, times = engine_of(spool, provider), []
    with closing(connect(engine)) as connection:
        for _ in range(count):
            began = time.perf_counter()
            with engine.transaction(connection) as transaction:
                work = claim(transaction, 1)
            times.append(time.perf_counter() - began)
            if bool(work.claims) is not found:
                raise RuntimeError(f"the claim found {len(work.claims)}")
            with engine.transaction(connection) as transaction:
                settle(transaction, [(each, returned(each, transaction.now)) for each in work.claims])
    return statistics.median(times) * 1000


def alone(measure: str, value: float, unit: str, bounds: Bounds = NO_BOUNDS, note: str = "") -> Row:
    """Return the row of a figure that has no peer."""
    must, goal = bounds
    return Row(measure=measure, ours=f"{value:.3g} {unit}", value=value, must=must, goal=goal, note=note)
