"""
The interface of an engine: transactions, and its files, disk space and time.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from smtprelay.model.queue_admin import Space
from smtprelay.spool.engines.sqlite_reserve import Reserve
from smtprelay.spool.engines.transaction import Connection, ReadingConnection, SpoolFault, Transaction
from smtprelay.spool.receive.capacity import DiskSpace


class Engine:
    """
    A kind of database. What is not about transactions has a default: it looks after its files itself.

    :ivar clock: whose time the times in it are, with the timers of the reactor; ``None``: this machine's.
    :ivar reserve: what delivery lives on when the disk is full.
    """

    clock: Any = None
    reserve: Reserve | None = None

    def connect(self) -> Connection:
        """Open the connection that writes."""
        raise NotImplementedError

    def transaction(self, connection: Connection) -> AbstractContextManager[Transaction]:
        """
        Begin a transaction; committed and synced when the block ends, rolled back when it raises.

        :raises SpoolFault: the database failed.
        :raises RetryTransaction: another node was in the way; nothing has happened.
        """
        raise NotImplementedError

    def disconnect(self, connection: Connection) -> None:
        """Close the connection, in whatever state it is; it raises nothing."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop notifying; the last transaction is still to come."""

    def release(self) -> None:
        """Release the lock, after the last transaction."""

    # --- on a connection that reads, and its thread

    def reading(self) -> ReadingConnection:
        """Open a connection that cannot write."""
        raise NotImplementedError

    def fault(self, _: Exception, /) -> SpoolFault | None:
        """Return what an error of reading means for the database; ``None``: it is the question's own."""
        return None

    def measure(self, _: Connection, /) -> tuple[int, int | None]:
        """Return the size of its files, and the free bytes beside them if that means anything."""
        return 0, None

    def disk(self, _: Connection, /) -> DiskSpace:
        """Return the disk under it, for the limits of the spool."""
        return DiskSpace()

    def space(self, _: Connection, /) -> Space:
        """Tell how much room the spool takes, at a cost that does not grow with it."""
        return Space()

    def reuse_log(self, _: Connection, /) -> None:
        """Take less of a disk that is full, as far as that can be."""

    def cut_log(self, _: Connection, /) -> None:
        """Cut off a log that is large and not needed."""

    def verify(self, _: Connection, /) -> Sequence[str]:
        """Read all there is; return a sentence for each damage."""
        return ()

    # --- within a transaction

    def shrink(self, _tx: Transaction, /, spare: int) -> int:  # noqa: ARG002 -- for engines with files
        """Give back a little of what is free beyond ``spare`` bytes."""
        return 0
