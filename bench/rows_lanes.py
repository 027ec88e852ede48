"""
Rows about thousands of lanes of one provider, some of them blocked, and about the statements of a mail.
"""

import random
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from bench.control import asked
from bench.ours import Ours, acs
from bench.queue_file import Many, arrival, block, connect, engine_of, fill
from bench.rows_queue import alone
from bench.sinks import HttpSink
from bench.table import Row
from bench.workplace import Workplace
from smtprelay.dispatch.decision import returned
from smtprelay.model.attempt import Claim, Settlement
from smtprelay.model.outcome import Delivered
from smtprelay.spool.operations.accept import accept
from smtprelay.spool.operations.claim import claim
from smtprelay.spool.operations.settle import settle

_LANES = 20_000
_CLAIMS = 100
_QUESTIONS = 20
_MESSAGES = 5_000
#: So late a provider answers that hangs, seconds.
_FOR_EVER = 86400.0


def lanes(work: Workplace) -> Iterator[Row]:
    """A claim, ``status`` and a scrape, with mail due in all lanes, a quarter of them blocked."""
    many = Many("out", work.scaled(_LANES), lanes=work.scaled(_LANES))
    folder = work.place("lanes")
    fill(folder / "spool", many)
    blocked = [f"box{number}@example.com" for number in range(0, many.lanes, 4)]
    block(folder / "spool", many, blocked)
    about = f"{many.lanes} lanes due, {len(blocked)} of them blocked"
    for limit in (1, 50):
        cost = _claim_cost(folder / "spool", limit, work.scaled(_CLAIMS))
        yield alone(f"claim of {limit}, {about}", cost, "ms", (10, 1), "without the sync")
    with ExitStack() as stack:
        silent = stack.enter_context(HttpSink(work.place("sink"), latency=_FOR_EVER))
        relay = stack.enter_context(Ours(folder, {"out": acs(silent.port, 10)}))
        for name, path in (("status", "/api/v1/status"), ("scrape", "/metrics")):
            seconds = [asked(relay.control, path).seconds for _ in range(_QUESTIONS)]
            note = f"by the control socket; slowest {max(seconds) * 1000:.1f} ms"
            yield alone(f"{name}, {about}", statistics.median(seconds) * 1000, "ms", (50, 10), note)


def statements(work: Workplace) -> Iterator[Row]:
    """SQLite's part of a message that is claimed as it comes in and delivered."""
    folder, chance = work.place("statements") / "spool", random.Random(1)
    times: tuple[list[float], list[float]] = ([], [])
    fill(folder, Many("out", 0))
    engine = engine_of(folder, "out")
    with closing(connect(engine)) as connection:
        for _ in range(work.scaled(_MESSAGES)):
            message = arrival("out", b"Subject: x\r\n\r\n".ljust(10_000, b"x"), chance)
            began = time.perf_counter()
            with engine.transaction(connection) as transaction:
                (claimed,) = accept(transaction, message, claiming=True)
            accepted = time.perf_counter()
            with engine.transaction(connection) as transaction:
                settle(transaction, [(claimed, _delivered(claimed))])
            times[0].append(accepted - began)
            times[1].append(time.perf_counter() - accepted)
    for what, each in zip(("accept with its claim, 10 KB", "settle"), times, strict=True):
        note = f"without the sync; fastest {min(each) * 1e6:.0f} µs"
        yield alone(f"SQLite, {what}", statistics.median(each) * 1e6, "µs", note=note)


def _delivered(claimed: Claim) -> Settlement:
    addresses = claimed.delivery.envelope.addresses
    outcomes, closed = dict.fromkeys(addresses, Delivered("1")), dict.fromkeys(addresses, "delivered")
    return Settlement(state="delivered", outcomes=outcomes, closed=closed)


def _claim_cost(spool: Path, limit: int, count: int) -> float:
    """Return the median of one claim, milliseconds; what it claimed is given back."""
    engine, times = engine_of(spool, "out"), []
    with closing(connect(engine)) as connection:
        for _ in range(count):
            began = time.perf_counter()
            with engine.transaction(connection) as transaction:
                claims = claim(transaction, limit).claims
            times.append(time.perf_counter() - began)
            if len(claims) != limit:
                raise RuntimeError(f"the claim found {len(claims)}")
            with engine.transaction(connection) as transaction:
                settle(transaction, [(each, returned(each, transaction.now)) for each in claims])
    return statistics.median(times) * 1000
