"""
Our relay with one thing changed: ``python -m bench.entry MODE CONFIG``.

``run`` changes nothing. ``accept`` never claims, so that only accepting is measured. ``group``
and ``single`` accept on a disk that syncs 2 ms slower; ``single`` commits each message alone.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

#: Seconds that each commit takes longer on the slow disk.
SLOWER: Final = 0.002


def accept_only() -> None:
    """Have no relay of this process deliver anything."""
    from smtprelay.dispatch.dispatcher import Dispatcher  # noqa: PLC0415

    Dispatcher.start = lambda _dispatcher: None


def slow_disk() -> None:
    """Have each commit take longer, on the thread that commits."""
    from smtprelay.spool.connection import Connection, Transaction  # noqa: PLC0415
    from smtprelay.spool.sqlite import SqliteEngine  # noqa: PLC0415

    transaction = SqliteEngine.transaction

    @contextmanager
    def slowly(engine: SqliteEngine, connection: Connection) -> Iterator[Transaction]:
        with transaction(engine, connection) as begun:
            yield begun
        time.sleep(SLOWER)

    SqliteEngine.transaction = slowly


def one_commit_each() -> None:
    """Have no two operations share a commit."""
    from smtprelay.spool import writer  # noqa: PLC0415

    writer.LARGEST_GROUP = 1


MODES: Final[Mapping[str, tuple[Callable[[], None], ...]]] = {
    "run": (),
    "accept": (accept_only,),
    "group": (accept_only, slow_disk),
    "single": (accept_only, slow_disk, one_commit_each),
}

if __name__ == "__main__":
    for change in MODES[sys.argv[1]]:
        change()
    from smtprelay.service import run

    sys.exit(run(sys.argv[2]))
