"""
The providers that cannot be reached, by what each node of a spool reports.

Each node reports for itself: what one of them cannot reach, another one may. All together are one alarm,
which begins with the first of them and ends with the last.
"""

from collections.abc import Sequence
from typing import Final

from smtprelay.model.queue import Unreachable
from smtprelay.spool.engines.transaction import Connection, Transaction
from smtprelay.spool.tables.deliveries import storable

_GONE: Final = "NOT EXISTS (SELECT 1 FROM node o WHERE o.name = unreachable.node)"

#: Of nodes that have left or died.
FORGET_GONE: Final = f"DELETE FROM unreachable WHERE node <> ? AND {_GONE}"  # noqa: S608 -- constants

#: Of this node, and of earlier ones that are gone.
_FORGET_OWN: Final = f"DELETE FROM unreachable WHERE provider = ? AND (node = ? OR {_GONE}) RETURNING 1"  # noqa: S608

#: What waits because the provider could not be reached, perhaps at a host that it had before: its error names
#: stage and host, or what did not come in time. No delivery is sorted, and of a long queue not all are looked
#: at: all other operations wait for this transaction.
_HELD_UP: Final = """
    SELECT message, n, lane FROM (
        SELECT d.message, d.n, d.lane, d.reason FROM lane l JOIN delivery d ON d.lane = l.id
        WHERE l.provider = ? AND d.due > ? AND d.state = 'deferred' LIMIT ?) AS waiting
    WHERE reason LIKE '% at %: %' OR reason LIKE 'no % within % s' LIMIT ?"""

#: Maximum number of deliveries that go as soon as their provider is reached; the rest wait for their retries.
_MOST_AT_ONCE: Final = 1000
#: Maximum number of deliveries that are examined for that.
_MOST_SEARCHED: Final = 10 * _MOST_AT_ONCE


def note_reachability(tx: Transaction, provider: str, trouble: Unreachable | None) -> bool:
    """Record that this node cannot reach a provider, or reaches it again; then its mail is due."""
    tx.lanes.take([provider])  # so that of two nodes one is the first, or the last
    before = tx.execute(_FORGET_OWN, (provider, tx.node.name)).fetchone()
    others = tx.execute("SELECT 1 FROM unreachable WHERE provider = ? LIMIT 1", (provider,)).fetchone()
    if trouble is not None:
        since = max(0.0, min(trouble.since, tx.now))
        values = (since, storable(trouble.host), trouble.stage, storable(trouble.reason))
        tx.execute("INSERT INTO unreachable VALUES (?, ?, ?, ?, ?, ?)", (provider, tx.node.name, *values))
        return others is None
    _go_now(tx, provider)
    return before is not None and others is None


def _go_now(tx: Transaction, provider: str) -> None:
    """Make what could not reach the provider due now: its retries may be an hour apart."""
    parameters = (provider, tx.now, _MOST_SEARCHED, _MOST_AT_ONCE)
    rows = tx.execute(_HELD_UP, parameters).fetchall()
    for message, n, number in rows:
        tx.execute("UPDATE delivery SET due = ? WHERE message = ? AND n = ?", (tx.now, message, n))
        tx.lanes.by_id(number).due_at(tx.now)


def unreachable(connection: Connection) -> Sequence[Unreachable]:
    """Return each provider that some node cannot reach, as the first node reported it."""
    rows = connection.execute(
        "SELECT provider, since, host, stage, reason FROM unreachable ORDER BY provider, since DESC"
    ).fetchall()
    return list({row[0]: Unreachable(*row) for row in rows}.values())
