"""
The providers that cannot be reached, as the nodes of a spool tell each other.

Each node says so of itself: what one of them cannot reach, another one may. All together are one alarm, which
begins with the first of them and ends with the last.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

from smtprelay.model.unreachable import Unreachable
from smtprelay.spool.connection import Connection, Transaction
from smtprelay.spool.stored import storable
from smtprelay.spool.writer import Writer

_NOTE: Final = """
    INSERT INTO unreachable (provider, node, since, host, stage, reason) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (provider, node) DO UPDATE SET
        since = excluded.since, host = excluded.host, stage = excluded.stage, reason = excluded.reason"""

_OTHERS: Final = "SELECT 1 FROM unreachable WHERE provider = ? AND node <> ? LIMIT 1"

#: Of nodes that have left or died.
_FORGET_GONE: Final = """
    DELETE FROM unreachable WHERE node <> ?
        AND NOT EXISTS (SELECT 1 FROM node o WHERE o.name = unreachable.node)"""


class SpoolReach:
    """See :class:`smtprelay.reachability.SharedReach`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def note(self, trouble: Unreachable) -> bool:
        """See :meth:`smtprelay.reachability.SharedReach.note`."""
        return await self._writer.do(partial(note, trouble=trouble))

    async def forget(self, provider: str) -> bool:
        """See :meth:`smtprelay.reachability.SharedReach.forget`."""
        return await self._writer.do(partial(forget, provider=provider))


def note(tx: Transaction, trouble: Unreachable) -> bool:
    """Write down that this node cannot reach a provider; tell whether it is the first."""
    tx.lanes.take([trouble.provider])  # so that of two nodes one is the first
    first = tx.execute(_OTHERS, (trouble.provider, tx.node)).fetchone() is None
    since = max(0.0, min(trouble.since, tx.now))
    told = (since, storable(trouble.host), trouble.stage, storable(trouble.reason))
    tx.execute(_NOTE, (trouble.provider, tx.node, *told))
    return first


def forget(tx: Transaction, provider: str) -> bool:
    """Write down that this node reaches a provider again; tell whether it was the last that did not."""
    tx.lanes.take([provider])
    tx.execute("DELETE FROM unreachable WHERE provider = ? AND node = ?", (provider, tx.node))
    return tx.execute(_OTHERS, (provider, tx.node)).fetchone() is None


def forget_own(tx: Transaction) -> None:
    """Forget what this node said in an earlier life."""
    tx.execute("DELETE FROM unreachable WHERE node = ?", (tx.node,))


def forget_gone(tx: Transaction) -> None:
    """Forget what nodes said that are not there any more."""
    tx.execute(_FORGET_GONE, (tx.node,))


def unreachable(connection: Connection) -> Sequence[Unreachable]:
    """Return each provider that some node cannot reach, as the node says that has told it longest."""
    rows = connection.execute(
        "SELECT provider, since, host, stage, reason FROM unreachable ORDER BY provider, since"
    ).fetchall()
    found: dict[str, Unreachable] = {}
    for provider, since, host, stage, reason in rows:
        found.setdefault(
            provider, Unreachable(provider=provider, since=since, host=host, stage=stage, reason=reason)
        )
    return list(found.values())
