"""
Our relay with one thing changed: ``python -m bench.entry MODE CONFIG``.

``run`` changes nothing. ``turns`` notes in a file beside the configuration how long the longest turn of the
reactor took; SIGUSR2 begins anew. ``accept`` never claims, so that only accepting is measured. ``group``
and ``single`` accept on a disk that syncs 2 ms slower; ``single`` commits each message alone.
"""

import mmap
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

#: Seconds that each commit takes longer on the slow disk.
SLOWER: Final = 0.002


def accept_only() -> None:
    """Have no relay of this process deliver anything."""
    from smtprelay.dispatch.dispatcher import Dispatcher  # noqa: PLC0415

    Dispatcher.start = lambda _dispatcher: None


def slow_disk() -> None:
    """Have each commit take longer, on the thread that commits."""
    from smtprelay.spool.engines.sqlite import SqliteEngine  # noqa: PLC0415
    from smtprelay.spool.engines.transaction import Connection, Transaction  # noqa: PLC0415

    transaction = SqliteEngine.transaction

    @contextmanager
    def slowly(engine: SqliteEngine, connection: Connection) -> Iterator[Transaction]:
        with transaction(engine, connection) as begun:
            yield begun
        time.sleep(SLOWER)

    SqliteEngine.transaction = slowly


def one_commit_each() -> None:
    """Have no two operations share a commit."""
    from smtprelay.spool.engines import writer  # noqa: PLC0415

    writer.LARGEST_GROUP = 1


#: The file beside the configuration, of :data:`TURN`.
TURNS: Final = "turns"

#: Seconds that the longest turn took, and how many of them its thread used the processor.
TURN: Final = struct.Struct("dd")


class WatchedPoll:
    """The ``epoll`` of a reactor, between whose calls the turns are."""

    def __init__(self, poller: Any, file: Path) -> None:
        file.write_bytes(bytes(TURN.size))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), TURN.size)
        self._poller = poller
        self._longest = 0.0
        self._began = self._spent = 0.0
        signal.signal(signal.SIGUSR2, self._anew)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)

    def poll(self, *arguments: Any) -> Any:
        """Note how long the turn was that ends, and when the next one begins."""
        lasted = time.perf_counter() - self._began
        if self._began and lasted > self._longest:
            self._longest = lasted
            self._memory[:] = TURN.pack(lasted, time.thread_time() - self._spent)
        try:
            return self._poller.poll(*arguments)
        finally:
            self._began, self._spent = time.perf_counter(), time.thread_time()

    def _anew(self, *_: object) -> None:
        self._longest = self._began = 0.0
        self._memory[:] = bytes(TURN.size)


def watch_turns() -> None:
    """Have the reactor's turns watched."""
    from twisted.internet import reactor  # noqa: PLC0415

    watched: Any = reactor
    watched._poller = WatchedPoll(watched._poller, Path(sys.argv[2]).parent / TURNS)  # noqa: SLF001


MODES: Final[Mapping[str, tuple[Callable[[], None], ...]]] = {
    "run": (),
    "turns": (watch_turns,),
    "accept": (accept_only,),
    "group": (accept_only, slow_disk),
    "single": (accept_only, slow_disk, one_commit_each),
}

if __name__ == "__main__":
    for change in MODES[sys.argv[1]]:
        change()
    from smtprelay.service import run

    sys.exit(run(sys.argv[2]))
