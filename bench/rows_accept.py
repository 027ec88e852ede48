"""
Rows about taking mail: on disk beside a Postfix that holds it, and in memory beside twisted.mail.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from bench.comparison import cpu_row, rate_row
from bench.load import Load
from bench.ours import ENTRY, NOWHERE, Ours
from bench.peers import Postfix, Server
from bench.rounds import Results, Side, alternate, median
from bench.table import Row
from bench.workplace import Workplace, spelled

_CPU = {10_000: (0.5, 0.2), 100_000: (0.6, 0.3), 5_000_000: (1.0, 0.7)}
_DATA = {10_000: (0.65, 0.4), 100_000: (0.35, 0.25), 5_000_000: (0.25, 0.15)}


def accept_cpu(work: Workplace) -> Iterator[Row]:
    """CPU of an accept that is safe, beside Postfix's."""
    for size, bounds in _CPU.items():
        results = _accepting(work, work.load(size))
        yield cpu_row(f"durable accept CPU, {spelled(size)}", results, "postfix", bounds)


def accept_rate(work: Workplace) -> Iterator[Row]:
    """Messages a second, beside Postfix's."""
    for sessions in (10, 50):
        results = _accepting(work, work.load(10_000, sessions))
        yield rate_row(f"durable accept rate, {sessions} clients", results, "postfix", "accepted", (2, 5))


def group_commit(work: Workplace) -> Iterator[Row]:
    """What group commit gains where a sync takes 2 ms longer."""
    rates = {}
    for mode in ("group", "single"):
        with Ours(work.place(mode), {"out": NOWHERE}, program=(ENTRY, mode)) as relay:
            load = Load(10_000, work.scaled(4000 if mode == "group" else 1000), 50)
            results = alternate([Side(name=mode, port=relay.port, pid=relay.pid)], load, work.rounds)
            rates[mode] = median(results, mode, "accepted")
    yield Row(
        measure="group commit ÷ one each, syncs 2 ms slower",
        ours=f"{rates['group']:.0f}/s",
        peer=f"{rates['single']:.0f}/s",
        value=rates["group"] / rates["single"],
        must=8,
        goal=15,
        more=True,
        note="50 clients",
    )


def data_cpu(work: Workplace) -> Iterator[Row]:
    """CPU of our server alone, beside twisted.mail's; both in memory."""
    for size, bounds in _DATA.items():
        with ExitStack() as stack:
            ours = stack.enter_context(Server(work.place("ours"), "ours"))
            stock = stack.enter_context(Server(work.place("stock"), "stock"))
            sides = [
                Side(name="ours", port=ours.port, pid=ours.pid),
                Side(name="twisted.mail", port=stock.port, pid=stock.pid),
            ]
            results = alternate(sides, work.load(size), work.rounds)
        yield cpu_row(f"DATA CPU ÷ twisted.mail, {spelled(size)}", results, "twisted.mail", bounds)


def _accepting(work: Workplace, load: Load) -> Results:
    with ExitStack() as stack:
        ours = stack.enter_context(Ours(work.place("accept"), {"out": NOWHERE}, program=(ENTRY, "accept")))
        postfix = stack.enter_context(Postfix(work.place("hold"), None))
        sides: Sequence[Side] = [
            Side(name="ours", port=ours.port, pid=ours.pid),
            Side(name="postfix", port=postfix.port, pid=postfix.pid, clean=postfix.clean),
        ]
        return alternate(sides, load, work.rounds)
