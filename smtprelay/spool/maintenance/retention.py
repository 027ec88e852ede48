"""
Retention: what is finished is kept for a while, then dropped in steps, small in messages and in bytes.

So a sweep after a long time never holds up the mail. What waits is never looked at.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.operations.settle_delivered import DROP_BODIES
from smtprelay.spool.tables.deliveries import marks, portions

#: Bytes of bodies that one step drops, unless a single message has more.
_MOST_BYTES: Final = 32 * 1024 * 1024

#: All that belongs to a message.
_TABLES: Final = ("chunk", "delivery", "recipient", "attempt", "credential")

_OLDEST: Final = """
    SELECT id, CASE WHEN EXISTS (SELECT 1 FROM chunk WHERE chunk.message = message.id) THEN size ELSE 0 END
    FROM message WHERE {which}finished < ? ORDER BY finished LIMIT ?"""


def sweep(tx: Transaction, before: float, limit: int = 200) -> int:
    """Drop up to ``limit`` messages finished before ``before``, the oldest first; return how many."""
    gone = _oldest(tx, "", before, limit)
    remove(tx, gone)
    return len(gone)


def sweep_bodies(tx: Transaction, before: float, limit: int = 200) -> int:
    """Drop the bodies of up to ``limit`` messages that were delivered before ``before``."""
    gone = _oldest(tx, "kept = 1 AND ", before, limit)
    for some in portions(gone):
        tx.execute(DROP_BODIES.format(marks(some)), some)
        tx.execute(f"UPDATE message SET kept = 0 WHERE id IN ({marks(some)})", some)  # noqa: S608
    return len(gone)


def remove(tx: Transaction, messages: Sequence[str]) -> None:
    """Drop all that belongs to ``messages``; none of their deliveries is counted by a lane any more."""
    for some in portions(messages):
        for table in _TABLES:
            tx.execute(f"DELETE FROM {table} WHERE message IN ({marks(some)})", some)  # noqa: S608 -- constants
        tx.execute(f"DELETE FROM message WHERE id IN ({marks(some)})", some)  # noqa: S608


def _oldest(tx: Transaction, which: str, before: float, limit: int) -> list[str]:
    """Return the first messages whose bodies one step may drop, one at least."""
    sql = _OLDEST.format(which=which)
    if tx.locking.row:
        # Other nodes sweep, too; and an operator may just try one of these again.
        sql += f"{tx.locking.row} SKIP LOCKED"
    rows = tx.execute(sql, (before, limit)).fetchall()
    few = sum(total <= _MOST_BYTES for total in accumulate(size for _, size in rows))
    return [message for message, _ in rows[: max(1, few)]]
