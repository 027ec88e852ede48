"""
How much room a spool takes in PostgreSQL.

The size of the tables on disk is known at once, but does not shrink when mail goes: what is free in them is
used again, and how much that is is not known. So when it is much, what lives in them is estimated from a
sample of their pages. Free disk space is unknown to a database.
"""

import math
from typing import Any, Final

from smtprelay.spool.engines.postgres_connection import is_ours
from smtprelay.spool.engines.transaction import Connection, SpoolFault

_TABLES: Final = ("message", "delivery", "recipient", "attempt", "chunk")

_TAKEN: Final = "SELECT " + " + ".join(f"pg_total_relation_size('{table}')" for table in _TABLES)

#: Of a piece of a body its content is measured as it is stored, without being read.
_LIVING: Final = """
    SELECT coalesce(sum(pg_column_size({what})), 0) FROM {table} AS each TABLESAMPLE SYSTEM ({{share}})"""
_SAMPLES: Final = {
    table: _LIVING.format(table=table, what="each.content" if table == "chunk" else "each.*")
    for table in _TABLES
}
_PAGES: Final = "SELECT pg_relation_size(?) / current_setting('block_size')::integer"

#: Pages of a table that are looked at, about 3 MiB of them.
_MOST: Final = 400

#: Rows of few bytes take twice as many: for what stands before each, and in the indexes.
_AROUND: Final = 2


def used(connection: Connection, plenty: float) -> int | None:
    """
    Return about how many bytes hold something; ``None`` where the database does not tell.

    :param plenty: below this size in bytes nothing is estimated.
    """
    try:
        taken = taken_by_tables(connection)
        return taken if taken < plenty else min(taken, live_bytes(connection))
    except SpoolFault as fault:
        cause: Any = fault.__cause__
        if is_ours(cause):
            return None
        raise


def measure(connection: Connection) -> tuple[int, int | None]:
    """Return the bytes that the tables take, 0 where the database does not tell, and nothing of free ones."""
    return used(connection, math.inf) or 0, None


def taken_by_tables(connection: Connection) -> int:
    """Return what the tables take on the disk, in bytes."""
    return int(connection.execute(_TAKEN).fetchone()[0])


def live_bytes(connection: Connection) -> int:
    """Return about how many bytes lie in the tables."""
    total = 0.0
    for table, sql in _SAMPLES.items():
        pages = connection.execute(_PAGES, (table,)).fetchone()[0]
        share = min(100.0, 100.0 * _MOST / max(1, pages))
        found = connection.execute(sql.format(share=share)).fetchone()[0]
        total += float(found) * 100.0 / share * (1 if table == "chunk" else _AROUND)
    return int(total)
