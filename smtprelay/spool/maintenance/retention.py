"""
Retention: what is finished is kept for a while, then dropped in steps, small in messages and in bytes.

So a sweep after a long time never holds up the mail. What waits is never looked at.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from smtprelay.model.queue import SUSPENDED
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.operations.settle_delivered import DROP_BODIES
from smtprelay.spool.tables.deliveries import marks, portions, take_lanes

#: Bytes of bodies that one step drops, unless a single message has more.
_MOST_BYTES: Final = 32 * 1024 * 1024

#: All that belongs to a message.
_TABLES: Final = ("chunk", "delivery", "recipient", "attempt", "credential")

_FINISHED: Final = """
    SELECT lane, count(*) FROM delivery WHERE message IN ({}) AND ended IS NOT NULL GROUP BY lane"""

#: A lane is kept for so long after its last mail: its rates may count what went a day ago. Seconds.
_IDLE: Final = 2 * 86400.0
#: Lanes that one step drops.
_MOST_LANES: Final = 1000

_EMPTY: Final = """
    key <> '' AND queued = 0 AND deferred = 0 AND active = 0 AND held = 0 AND finished = 0 AND slots = 0
    AND served < ? AND (blocked_until IS NULL OR blocked_until <> ?)
    AND NOT EXISTS (SELECT 1 FROM permit WHERE permit.lane = lane.id)"""

_OLDEST: Final = """
    SELECT id, CASE WHEN EXISTS (SELECT 1 FROM chunk WHERE chunk.message = message.id) THEN size ELSE 0 END
    FROM message WHERE {which}finished < ? ORDER BY finished LIMIT ?"""


def sweep(tx: Transaction, before: float, limit: int = 200) -> int:
    """
    Drop up to ``limit`` messages that were finished before ``before``, the oldest first.

    Returns how many; 0 when none is left. Large bodies make it fewer. With the last of them go lanes in which
    nothing is any more.
    """
    gone = _oldest(tx, "", before, limit)
    remove(tx, gone)
    if not gone:
        _sweep_lanes(tx)
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
    rows = [
        row
        for some in portions(messages)
        for row in tx.execute(_FINISHED.format(marks(some)), some).fetchall()
    ]
    for number, count in rows:
        tx.lanes.by_id(number).finished -= count
    for some in portions(messages):
        for table in _TABLES:
            tx.execute(f"DELETE FROM {table} WHERE message IN ({marks(some)})", some)  # noqa: S608 -- constants
        tx.execute(f"DELETE FROM message WHERE id IN ({marks(some)})", some)  # noqa: S608


def _sweep_lanes(tx: Transaction) -> None:
    """Drop lanes that have been empty for long; a provider's own lane stays, and so does a suspension."""
    tx.lanes.write()
    idle = (tx.now - _IDLE, SUSPENDED, _MOST_LANES)
    rows = tx.execute(f"SELECT id, provider FROM lane WHERE {_EMPTY} LIMIT ?", idle).fetchall()  # noqa: S608
    # The lock on a provider's own lane protects all its lanes: no mail enters one of them meanwhile.
    tx.lanes.take(sorted({provider for _, provider in rows}))
    numbers = [number for number, _ in rows]
    for some in portions(numbers):
        sql = f"DELETE FROM lane WHERE {_EMPTY} AND id IN ({marks(some)})"  # noqa: S608
        tx.execute(sql, (*idle[:2], *some))
    tx.lanes.drop(numbers)


def _oldest(tx: Transaction, which: str, before: float, limit: int = 200) -> list[str]:
    rows = tx.execute(_OLDEST.format(which=which), (before, limit)).fetchall()
    few = sum(total <= _MOST_BYTES for total in accumulate(size for _, size in rows))
    oldest = [message for message, _ in rows[: max(1, few)]]
    if not tx.node.locking.row:
        return oldest
    # Other nodes sweep, too; and an operator may just have tried one of these again.
    take_lanes(tx, oldest)
    still = f"SELECT id FROM message WHERE {which}finished < ? AND id IN ({{}}){tx.node.locking.row}"  # noqa: S608
    return [
        message
        for some in portions(oldest)
        for (message,) in tx.execute(still.format(marks(some)), (before, *some)).fetchall()
    ]
