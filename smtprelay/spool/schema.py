"""
The tables, and how an older spool becomes a newer one.

Only forward: a spool knows its version, and each migration is applied once, in the
transaction that also records it. The SQL is what SQLite and PostgreSQL (and the
engines that speak its protocol) share; the few type names that differ are filled in.

``delivery.due`` is null unless the delivery waits, and ``delivery.ended`` is null until it
is final: the partial indexes therefore hold only what is waiting and what is alive,
and neither claim nor list pays for history. What failed has one of its own, for that is
looked for among all that went well.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from smtprelay.spool.connection import Connection

SQLITE_TYPES: Final = {"blob": "BLOB", "real": "REAL", "serial": "INTEGER PRIMARY KEY"}

_FIRST: Final = (
    """CREATE TABLE message (
        id TEXT PRIMARY KEY, sender TEXT NOT NULL, parameters TEXT NOT NULL, client TEXT NOT NULL,
        received {real} NOT NULL, size INTEGER NOT NULL, subject TEXT NOT NULL, message_id TEXT NOT NULL,
        bounce_of TEXT NOT NULL, finished {real})""",
    "CREATE INDEX message_finished ON message (finished) WHERE finished IS NOT NULL",
    """CREATE TABLE chunk (
        message TEXT NOT NULL, n INTEGER NOT NULL, content {blob} NOT NULL, PRIMARY KEY (message, n))""",
    "CREATE TABLE upload (message TEXT PRIMARY KEY, node TEXT NOT NULL)",
    """CREATE TABLE lane (
        id {serial}, provider TEXT NOT NULL, key TEXT NOT NULL,
        queued INTEGER NOT NULL DEFAULT 0, deferred INTEGER NOT NULL DEFAULT 0,
        active INTEGER NOT NULL DEFAULT 0, slots INTEGER NOT NULL DEFAULT 0,
        due {real}, served {real} NOT NULL DEFAULT 0,
        blocked_until {real}, blocked_reason TEXT NOT NULL DEFAULT '', blocked_since {real},
        blocked_total {real} NOT NULL DEFAULT 0, trial INTEGER NOT NULL DEFAULT 0,
        spent TEXT NOT NULL DEFAULT '', UNIQUE (provider, key))""",
    "CREATE INDEX lane_due ON lane (provider, due) WHERE due IS NOT NULL",
    "CREATE INDEX lane_blocked ON lane (provider) WHERE blocked_until IS NOT NULL",
    """CREATE TABLE delivery (
        message TEXT NOT NULL, n INTEGER NOT NULL, generation INTEGER NOT NULL,
        route TEXT NOT NULL, lane INTEGER NOT NULL, state TEXT NOT NULL, due {real}, ended {real},
        attempt INTEGER NOT NULL, tries INTEGER NOT NULL, errors INTEGER NOT NULL,
        uncertain INTEGER NOT NULL,
        node TEXT NOT NULL, slot INTEGER NOT NULL, lease {real}, blocked_before {real} NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (message, n))""",
    "CREATE INDEX delivery_due ON delivery (lane, due, message, n) WHERE due IS NOT NULL",
    "CREATE INDEX delivery_alive ON delivery (state, message) WHERE ended IS NULL",
    "CREATE INDEX delivery_failed ON delivery (message) WHERE state = 'failed'",
    """CREATE TABLE recipient (
        message TEXT NOT NULL, n INTEGER NOT NULL, position INTEGER NOT NULL, address TEXT NOT NULL,
        notify TEXT NOT NULL, orcpt TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
        provider_id TEXT NOT NULL, PRIMARY KEY (message, n, position))""",
    """CREATE TABLE attempt (
        message TEXT NOT NULL, n INTEGER NOT NULL, number INTEGER NOT NULL, provider TEXT NOT NULL,
        node TEXT NOT NULL, started {real} NOT NULL, ended {real},
        outcome TEXT NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (message, n, number))""",
    """CREATE TABLE credential (
        message TEXT NOT NULL, n INTEGER NOT NULL, key_id TEXT NOT NULL, sealed {blob} NOT NULL,
        PRIMARY KEY (message, n))""",
)

_SECOND: Final = (
    # A node is one process on a spool that several share; ``mark`` is the last group that it committed.
    """CREATE TABLE node (
        name TEXT PRIMARY KEY, mark TEXT NOT NULL, seen {real} NOT NULL,
        draining INTEGER NOT NULL DEFAULT 0)""",
)

#: What each version adds to the one before it; a released entry never changes.
MIGRATIONS: Final[Sequence[Sequence[str]]] = (_FIRST, _SECOND)


def migrate(connection: Connection, types: Mapping[str, str]) -> None:
    """
    Bring the tables up to the newest version; the caller's transaction makes it all or nothing.

    :raises ValueError: the spool was written by a newer version than this one.
    """
    connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
    row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
    have = row[0] if row and row[0] is not None else 0
    if have > len(MIGRATIONS):
        raise ValueError(
            f"the spool has version {have}, this smtprelay knows up to {len(MIGRATIONS)}: use a newer one"
        )
    for version, statements in enumerate(MIGRATIONS[have:], start=have + 1):
        for statement in statements:
            connection.execute(statement.format(**types))
        connection.execute("INSERT INTO schema_version (version) VALUES (?)", (version,))
