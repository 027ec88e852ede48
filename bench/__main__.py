"""
``make bench``: measures what smtprelay costs, beside those that it is compared with.

It needs Linux, root (for a Postfix of its own), Debian's package ``postfix``, and for the row
``awaiting`` the packages ``aiosmtpd`` and ``aiohttp``; ``signed_cpu`` looks for ``opendkim``, too.
Everything runs on loopback. Which Python matters: one
that was built without optimizations, as pyenv does by default, costs a sixth more than Debian's.
"""

import argparse
import os
import resource
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from bench import (
    rows_accept,
    rows_lanes,
    rows_memory,
    rows_mime,
    rows_nodes,
    rows_outgoing,
    rows_queue,
    rows_relay,
    rows_signed,
    rows_workers,
)
from bench.peers import missing_programs
from bench.table import Row, render, save
from bench.workplace import Workplace, workplace

ROWS: Final[Mapping[str, Callable[[Workplace], Iterator[Row]]]] = {
    each.__name__: each
    for each in (
        rows_relay.relay_cpu,
        rows_relay.delivered_rate,
        rows_relay.ceiling,
        rows_relay.awaiting,
        rows_relay.each_provider,
        rows_outgoing.outgoing_cpu,
        rows_signed.signed_cpu,
        rows_signed.rewritten_cpu,
        rows_signed.signed_memory,
        rows_accept.accept_cpu,
        rows_accept.accept_rate,
        rows_accept.group_commit,
        rows_accept.data_cpu,
        rows_memory.idle_connection,
        rows_memory.large_messages,
        rows_mime.stall,
        rows_mime.mapper_cpu,
        rows_queue.million,
        rows_queue.claim_cost,
        rows_queue.behind,
        rows_queue.growth,
        rows_lanes.lanes,
        rows_lanes.statements,
        rows_nodes.commits,
        rows_nodes.nodes,
        rows_workers.workers,
    )
}


def main(argv: Sequence[str]) -> int:
    """Measure, print the table, and return 1 if a row that must hold does not."""
    options = _options(argv)
    missing = missing_programs()
    if missing or os.geteuid():
        sys.stderr.write(f"bench: needs root, and these programs: {' '.join(missing) or 'all there'}\n")
        return 69
    _allow_many_files()
    rows: list[Row] = []
    with workplace(options.folder, options.rounds, quick=options.quick) as work:
        for name in options.rows or ROWS:
            rows += _measured(name, work)
    text = render(rows)
    print(text)
    print(save(text))
    return int(any(row.verdict in {"MISSED", "not measured"} for row in rows))


def _measured(name: str, work: Workplace) -> Sequence[Row]:
    """Return the rows of one measure; one that breaks is shown as such and does not end the others."""
    rows = []
    try:
        for row in ROWS[name](work):
            rows.append(row)
            print(f"{row.measure}: {row.ours} / {row.peer} {row.verdict}", file=sys.stderr, flush=True)
    except Exception as error:  # noqa: BLE001 -- the others still count
        traceback.print_exc()
        rows.append(Row(measure=name, ours="–", value=None, note=f"{type(error).__name__}: {error}"))
    return rows


def _allow_many_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="What smtprelay costs, beside others."
    )
    parser.add_argument(
        "--rows", nargs="+", choices=list(ROWS), metavar="ROW", help=f"only these of: {', '.join(ROWS)}"
    )
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds (default 3)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: does it run?")
    parser.add_argument("--folder", help="where spools and queues lie: the disk that is measured")
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds = 1
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
