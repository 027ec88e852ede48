"""
The list of refused mail: what clients were refused, added up for all nodes.

It is written in batches, seldom; each batch is one operation of a group commit.
"""

from collections.abc import Sequence
from typing import Final

from smtprelay.model.refusal import MOST_OF_CLIENT, MOST_ROWS, RefusalFilter, RefusalRow
from smtprelay.spool.engines.transaction import Connection, Transaction
from smtprelay.spool.tables.deliveries import marks, portions, storable

_COLUMNS: Final = "listener, client, login, rule, reply, domain, count, first_seen, last_seen, command, text"

_ADD: Final = f"""
    INSERT INTO refusal ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (listener, client, login, rule, reply, domain) DO UPDATE SET
        count = refusal.count + excluded.count, last_seen = excluded.last_seen,
        command = excluded.command, text = excluded.text"""  # noqa: S608 -- constants

_OLDEST_OF_CLIENT: Final = """
    DELETE FROM refusal WHERE id IN (SELECT id FROM (
        SELECT id, row_number() OVER (PARTITION BY client ORDER BY last_seen DESC, id DESC) AS place
        FROM refusal) ranked WHERE place > ?)"""
_OLDEST: Final = """
    DELETE FROM refusal WHERE id IN (SELECT id FROM refusal ORDER BY last_seen, id LIMIT ?)"""


def record(tx: Transaction, rows: Sequence[RefusalRow]) -> None:
    """Add ``rows`` to what is there; the oldest go when there are too many, of one client or of all."""
    # In one order for all nodes, so that none waits for another that waits for it.
    for row in sorted(rows, key=lambda each: each.key):
        texts = [storable(text) for text in row.key]
        tx.execute(_ADD, (*texts, row.count, row.first, row.last, storable(row.command), storable(row.text)))
    tx.execute(_OLDEST_OF_CLIENT, (MOST_OF_CLIENT,))
    (have,) = tx.execute("SELECT count(*) FROM refusal").fetchone()
    if have > MOST_ROWS:
        tx.execute(_OLDEST, (have - MOST_ROWS,))


def refused(connection: Connection, wanted: RefusalFilter) -> Sequence[RefusalRow]:
    """Return the rows that are meant, the last first."""
    return wanted.of(row for _, row in _rows(connection))


def clear(tx: Transaction, wanted: RefusalFilter) -> int:
    """Forget the rows that are meant; return how many."""
    found = [number for number, row in _rows(tx) if wanted.matches(row)]
    for some in portions(found):
        tx.execute(f"DELETE FROM refusal WHERE id IN ({marks(some)})", some)  # noqa: S608 -- marks
    return len(found)


def _rows(connection: Connection) -> Sequence[tuple[int, RefusalRow]]:
    rows = connection.execute(f"SELECT id, {_COLUMNS} FROM refusal", ()).fetchall()  # noqa: S608 -- constants
    return [
        (
            number,
            RefusalRow(
                listener=listener,
                client=client,
                user=login,
                rule=rule,
                reply="" if reply == text else reply,
                domain=domain,
                count=count,
                first=first,
                last=last,
                command=command,
                text=text,
            ),
        )
        for number, listener, client, login, rule, reply, domain, count, first, last, command, text in rows
    ]
