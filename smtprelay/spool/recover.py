"""
What was claimed by somebody who is not there any more comes back.

An attempt that was under way then has an intent and no outcome: its delivery is
``uncertain``, and nothing else is.
"""

from collections.abc import Sequence
from typing import Any, Final

from smtprelay.spool.connection import Transaction
from smtprelay.spool.slots import release

#: Deliveries that one transaction puts back at most, where others wait for their turn.
_MOST: Final = 200

_HELD: Final = "SELECT message, n, attempt, lane, slot FROM delivery WHERE ended IS NULL AND state = 'active'"

#: Nodes that had begun to receive a message.
_GONE: Final = """
    SELECT DISTINCT u.node FROM upload u LEFT JOIN node o ON o.name = u.node
    WHERE u.node <> ? AND (o.name IS NULL OR o.seen < ?)"""

_PUT_BACK: Final = """
    UPDATE delivery SET
        state = 'queued', due = ?, uncertain = 1, node = '', slot = 0, lease = NULL, reason = ?
    WHERE message = ? AND n = ?"""

_NO_OUTCOME: Final = """
    UPDATE attempt SET ended = ?, outcome = 'uncertain', reason = ?
    WHERE message = ? AND n = ? AND number = ?"""


def recover(tx: Transaction) -> int:
    """Put back what this node had claimed when it died; return how many deliveries."""
    count = put_back_own(tx)
    _forget_uploads(tx, [tx.node])
    return count


def put_back_own(tx: Transaction) -> int:
    """Put back what this node has claimed; return how many deliveries."""
    rows = tx.execute(f"{_HELD} AND node = ?", (tx.node,)).fetchall()
    for row in rows:
        _put_back(tx, row, "the relay stopped while this attempt was under way")
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
    for row in rows:
        _put_back(tx, row, "its relay did not renew its claim while this attempt was under way")
    gone = tx.execute(_GONE, (tx.node, tx.now - 2 * tx.lease)).fetchall()
    _forget_uploads(tx, [name for (name,) in gone])
    tx.execute("DELETE FROM node WHERE seen < ? AND name <> ?", (tx.now - 2 * tx.lease, tx.node))
    return len(rows)


def _put_back(tx: Transaction, row: Sequence[Any], why: str) -> None:
    message, n, attempt, number, slot = row
    lane = tx.lanes.by_id(number)
    lane.active -= 1
    if slot:
        release(tx, lane)
    lane.wait("queued", tx.now)
    tx.execute(_PUT_BACK, (tx.now, why, message, n))
    tx.execute(_NO_OUTCOME, (tx.now, why, message, n, attempt))


def _forget_uploads(tx: Transaction, nodes: Sequence[str]) -> None:
    """Drop what these nodes had of messages that were still arriving."""
    for node in nodes:
        for upload in tx.execute("SELECT message FROM upload WHERE node = ?", (node,)).fetchall():
            tx.execute("DELETE FROM chunk WHERE message = ?", upload)
        tx.execute("DELETE FROM upload WHERE node = ?", (node,))
