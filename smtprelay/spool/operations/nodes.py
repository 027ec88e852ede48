"""
The nodes of a spool that several share, as they see each other.

A node is there from its first transaction until it leaves, and says in its row whether it takes new work.
"""

from collections.abc import Sequence

from smtprelay.model.queue import Node
from smtprelay.spool.engines.transaction import Connection, Transaction


def set_draining(tx: Transaction, draining: bool) -> None:
    """Tell the other nodes whether this one takes new work."""
    tx.execute("UPDATE node SET draining = ? WHERE name = ?", (int(draining), tx.node.name))


def nodes(connection: Connection) -> Sequence[Node]:
    """Return the nodes by name; none where the spool belongs to one process."""
    rows = connection.execute("SELECT name, seen, draining FROM node ORDER BY name").fetchall()
    return [Node(name=name, seen=seen, draining=bool(draining)) for name, seen, draining in rows]
