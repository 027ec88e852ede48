"""
What nearly all mail does to several tables, in one statement each.

A statement lets go of the interpreter's lock again and again and must win it back from the reactor's
thread; that costs more than what it writes. SQLite needs no more than one: a view takes a row of all
tables, and its trigger writes each part where it belongs. Views and triggers are the connection's own
and temporary, so that the file knows nothing of them.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from smtprelay.model.queue import FOR_GOOD

#: Runs a statement that gives nothing back.
Run = Callable[[str, Sequence[Any]], object]

#: The tables that get one row each when a message for one recipient arrives, and is claimed or queued.
_CLAIMED: Final = ("message", "chunk", "delivery", "recipient", "attempt")
_QUEUED: Final = _CLAIMED[:-1]

_ARRIVALS: Final[Mapping[str, Sequence[str]]] = {"arrival_claimed": _CLAIMED, "arrival_queued": _QUEUED}

_ENDINGS: Final = ("message", "n", "ended", "why", "provider_id", "kept")

#: As :mod:`~smtprelay.spool.operations.settle_delivered` does it where there are no such views.
_END: Final = f"""
    UPDATE attempt SET ended = NEW.ended, outcome = 'delivered', reason = ''
        WHERE message = NEW.message AND n = NEW.n AND number = 1;
    UPDATE recipient SET state = 'delivered', reason = NEW.why, provider_id = NEW.provider_id
        WHERE message = NEW.message AND n = NEW.n;
    UPDATE delivery SET state = 'delivered', ended = NEW.ended, tries = 0, errors = 0, uncertain = 0,
        reason = '', node = '', slot = 0, lease = NULL
        WHERE message = NEW.message AND n = NEW.n;
    UPDATE message SET finished = NEW.ended, kept = NEW.kept
        WHERE id = NEW.message AND NOT EXISTS (
            SELECT 1 FROM delivery WHERE delivery.message = NEW.message AND ended IS NULL);
    DELETE FROM chunk WHERE NEW.kept = 0 AND message = NEW.message AND NOT EXISTS (
        SELECT 1 FROM delivery WHERE delivery.message = NEW.message AND state NOT IN {FOR_GOOD});"""  # noqa: S608 -- constants


def prepare(run: Run, columns: Mapping[str, Sequence[str]]) -> None:
    """
    Make the views for a connection.

    :param columns: of each table, those that a new row has.
    """
    for name, tables in _ARRIVALS.items():
        insertions = [_insertion(table, columns[table]) for table in tables]
        _make(run, name, [_part(table, each) for table in tables for each in columns[table]], insertions)
    _make(run, "ending", _ENDINGS, [_END])


def arrive(run: Run, rows: Mapping[str, list[Sequence[Any]]], most: int) -> None:
    """
    Write ``rows``, by table, if each table has as many as there are messages; take out what is written.

    :param most: rows in one statement.
    """
    count = len(rows["message"])
    name = "arrival_claimed" if len(rows["attempt"]) == count else "arrival_queued"
    tables = [rows[table] for table in _ARRIVALS[name]]
    if not count or any(len(table) != count for table in tables):
        return
    merged = [[value for part in parts for value in part] for parts in zip(*tables, strict=True)]
    _fill(run, name, merged, most)
    for table in tables:
        table.clear()


def end(run: Run, rows: Sequence[Sequence[Any]], most: int) -> None:
    """
    Record for each of ``rows`` that the first attempt at a delivery ended it, everybody having the mail.

    Each has the message, its number, the time, the provider's words and id, and whether the body is kept.
    """
    _fill(run, "ending", rows, most)


def _fill(run: Run, view: str, rows: Sequence[Sequence[Any]], most: int) -> None:
    for start in range(0, len(rows), most):
        batch = rows[start : start + most]
        run(_filling(view, len(batch), len(batch[0])), [value for row in batch for value in row])


@cache
def _filling(view: str, rows: int, columns: int) -> str:
    marks = f"({', '.join('?' * columns)})"
    return f"INSERT INTO {view} VALUES {', '.join([marks] * rows)}"  # noqa: S608 -- constants


def _make(run: Run, name: str, columns: Sequence[str], statements: Sequence[str]) -> None:
    run(f"CREATE TEMP VIEW {name} AS SELECT {', '.join(f'NULL AS {each}' for each in columns)}", ())
    body = "\n".join(statements)
    run(f"CREATE TEMP TRIGGER fill_{name} INSTEAD OF INSERT ON {name} BEGIN {body} END", ())


def _insertion(table: str, columns: Sequence[str]) -> str:
    values = ", ".join(f"NEW.{_part(table, each)}" for each in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values});"  # noqa: S608 -- constants


def _part(table: str, column: str) -> str:
    """Return what a column is called in a view of several tables."""
    return f"{table}_{column}"
