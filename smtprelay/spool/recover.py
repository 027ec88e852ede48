"""
What was claimed by somebody who is not there any more comes back.

An attempt that was under way then has an intent and no outcome: its delivery is
``uncertain``, and nothing else is. It may also be what the node died of: that is counted, and
what was there at two deaths in a row comes back one by one, so that the third one is held
and not all that happened to be under way with it.
"""

from collections.abc import Sequence
from typing import Any, Final

from smtprelay.spool import borrow
from smtprelay.spool.connection import Transaction
from smtprelay.spool.slots import release

#: Deliveries that one transaction puts back at most, where others wait for their turn.
_MOST: Final = 200

_HELD: Final = (
    "SELECT message, n, attempt, lane, slot, errors FROM delivery WHERE ended IS NULL AND state = 'active'"
)

#: What is found for the second time comes back one by one, after so many seconds each; all within a minute.
_ONE_BY_ONE: Final = 1.0
_LATEST: Final = 60.0

#: Nodes that had begun to receive a message.
_GONE: Final = """
    SELECT DISTINCT u.node FROM upload u LEFT JOIN node o ON o.name = u.node
    WHERE u.node <> ? AND (o.name IS NULL OR o.seen < ?)"""

_PUT_BACK: Final = """
    UPDATE delivery SET
        state = 'queued', due = ?, errors = errors + ?, uncertain = 1, node = '', slot = 0, lease = NULL,
        reason = ?
    WHERE message = ? AND n = ?"""

_NO_OUTCOME: Final = """
    UPDATE attempt SET ended = ?, outcome = 'uncertain', reason = ?
    WHERE message = ? AND n = ? AND number = ?"""


def recover(tx: Transaction) -> int:
    """Put back what this node had claimed when it died; return how many deliveries."""
    count = _put_back_own(tx, "the relay stopped while this attempt was under way", died=True)
    _forget_uploads(tx, [tx.node])
    return count


def put_back_own(tx: Transaction) -> int:
    """Put back what this node has claimed and gives up, for it stops; return how many deliveries."""
    return _put_back_own(tx, "the relay was stopped while this attempt was under way", died=False)


def _put_back_own(tx: Transaction, why: str, *, died: bool) -> int:
    # Another node may be about to take it back.
    rows = tx.execute(f"{_HELD} AND node = ?{tx.locking.row}", (tx.node,)).fetchall()
    _put_back(tx, rows, why, died=died)
    borrow.forget(tx, "node = ?", (tx.node,))
    return len(rows)


def reclaim(tx: Transaction) -> int:
    """
    Put back what other nodes had claimed when they died or froze; return how many deliveries, at most 200.

    Their leases have run out. So has, after as long again, that of a claim of this node that nobody renews:
    nobody knows of it, for the answer to its commit was lost.

    When the database was away nobody could renew anything: each gets as long as a lease to do so.
    """
    if tx.now < tx.back + tx.lease:
        return 0
    sql = f"{_HELD} AND (lease < ? AND node <> ? OR lease < ?) LIMIT ?"
    if tx.locking.row:
        sql += f"{tx.locking.row} SKIP LOCKED"
    rows = tx.execute(sql, (tx.now, tx.node, tx.now - tx.lease, _MOST)).fetchall()
    _put_back(tx, rows, "its relay did not renew its claim while this attempt was under way", died=True)
    borrow.forget(tx, "lease < ?", (tx.now,))
    gone = tx.execute(_GONE, (tx.node, tx.now - 2 * tx.lease)).fetchall()
    _forget_uploads(tx, [name for (name,) in gone])
    tx.execute("DELETE FROM node WHERE seen < ? AND name <> ?", (tx.now - 2 * tx.lease, tx.node))
    return len(rows)


def _put_back(tx: Transaction, rows: Sequence[Sequence[Any]], why: str, *, died: bool) -> None:
    """Queue them again; what was there when a node ``died`` before comes one by one."""
    again = sum(errors > 0 for *_, errors in rows)
    apart = min(_ONE_BY_ONE, _LATEST / max(1, again))
    due = tx.now
    for message, n, attempt, number, slot, errors in rows:
        lane = tx.lanes.by_id(number)
        lane.active -= 1
        if slot:
            release(tx, lane)
        if errors and died:
            due += apart
        at = due if errors and died else tx.now
        lane.wait("queued", at)
        tx.execute(_PUT_BACK, (at, int(died), why, message, n))
        tx.execute(_NO_OUTCOME, (tx.now, why, message, n, attempt))


def _forget_uploads(tx: Transaction, nodes: Sequence[str]) -> None:
    """Drop what these nodes had of messages that were still arriving."""
    for node in nodes:
        for upload in tx.execute("SELECT message FROM upload WHERE node = ?", (node,)).fetchall():
            tx.execute("DELETE FROM chunk WHERE message = ?", upload)
        tx.execute("DELETE FROM upload WHERE node = ?", (node,))
