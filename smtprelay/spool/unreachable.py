"""
The providers that cannot be reached, as the nodes of a spool tell each other.

Each node says so of itself: what one of them cannot reach, another one may. All together are one alarm, which
begins with the first of them and ends with the last.
"""

from collections.abc import Sequence
from typing import Final

from smtprelay.model.unreachable import Unreachable
from smtprelay.spool.connection import Connection, Transaction
from smtprelay.spool.stored import storable

#: For what this node said in an earlier life.
FORGET_OWN: Final = "DELETE FROM unreachable WHERE node = ?"

#: For what nodes said that have left or died.
FORGET_GONE: Final = """
    DELETE FROM unreachable WHERE node <> ?
        AND NOT EXISTS (SELECT 1 FROM node o WHERE o.name = unreachable.node)"""


def note_reach(tx: Transaction, provider: str, trouble: Unreachable | None) -> bool:
    """See :meth:`smtprelay.operating.Queue.note_reach`."""
    tx.lanes.take([provider])  # so that of two nodes one is the first, or the last
    tx.execute("DELETE FROM unreachable WHERE provider = ? AND node = ?", (provider, tx.node))
    others = tx.execute("SELECT 1 FROM unreachable WHERE provider = ? LIMIT 1", (provider,)).fetchone()
    if trouble is not None:
        since = max(0.0, min(trouble.since, tx.now))
        told = (since, storable(trouble.host), trouble.stage, storable(trouble.reason))
        tx.execute("INSERT INTO unreachable VALUES (?, ?, ?, ?, ?, ?)", (provider, tx.node, *told))
    return others is None


def unreachable(connection: Connection) -> Sequence[Unreachable]:
    """Return each provider that some node cannot reach, as the node says that has told it longest."""
    rows = connection.execute(
        "SELECT provider, since, host, stage, reason FROM unreachable ORDER BY provider, since DESC"
    ).fetchall()
    return list({row[0]: Unreachable(*row) for row in rows}.values())
