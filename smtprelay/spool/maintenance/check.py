"""
Whether the tables of a spool agree with each other, and the lanes' counts put right.

The lanes keep counts, so that nothing on a mail's way has to count; here they are counted anew. Both read
everything, so they are for tests, and for an operator who has a doubt. Nothing needs either while only the
relay writes into its spool.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, Final

from smtprelay.model.queue_admin import Checked
from smtprelay.spool.engines.transaction import Connection, Transaction

#: Maximum number of reported findings of one kind; a damaged spool may have one for each row.
_MOST: Final = 100


def checked(connection: Connection, verify: Callable[[Connection], Sequence[str]] | None = None) -> Checked:
    """
    Check the spool as it was at one moment.

    :param connection: with no transaction open.
    :param verify: gives more findings: :meth:`smtprelay.spool.engines.engine.Engine.verify`.
    """
    with snapshot(connection):
        return Checked(
            findings=[*(verify(connection) if verify else ()), *check(connection)],
            messages=_number(connection, "SELECT count(*) FROM message"),
            deliveries=_number(connection, "SELECT count(*) FROM delivery"),
            bytes=_number(connection, "SELECT coalesce(sum(length(content)), 0) FROM chunk"),
        )


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """Have all that is asked within answered as of one moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def check(connection: Connection) -> list[str]:
    """Return a sentence for each thing that does not agree; none for a sound spool."""
    return [*_rows(connection), *_lanes(connection)]


def _rows(connection: Connection) -> Iterator[str]:
    for what, sql in _NEVER.items():
        rows = connection.execute(sql).fetchall()
        yield from (f"{what}: {', '.join(str(value) for value in row)}" for row in rows[:_MOST])
        if len(rows) > _MOST:
            yield f"{what}: {len(rows) - _MOST} more"


def _lanes(connection: Connection) -> Iterator[str]:
    """Compare each lane with its deliveries."""
    lanes = connection.execute(_LANES).fetchall()
    counted = _counted(connection, lanes)
    for number, provider, key, *kept, due in lanes:
        *counts, first = counted.pop(number)
        name = f"lane {provider!r} {key!r}"
        for what, value, real in zip(_KEPT, kept, counts, strict=False):
            if value != real:
                yield f"{name}: {what} is {value}, counted {real}"
        if first is not None and (due is None or due > first):
            yield f"{name}: due is {due}, but a delivery is due {first}"
    yield from (f"deliveries are in a lane that does not exist: {number}" for number in counted)


def recount(tx: Transaction) -> int:
    """Give each lane the counts of its deliveries; return how many lanes had others."""
    # Who has the own lanes of all providers has all lanes: no other node counts meanwhile.
    providers = tx.execute("SELECT DISTINCT provider FROM lane ORDER BY provider").fetchall()
    tx.lanes.take([provider for (provider,) in providers])
    lanes = tx.lanes.all()
    before = [_counts(lane) for lane in lanes]
    counted = _counted(tx, [(lane.id, lane.provider, lane.key) for lane in lanes])
    for lane in lanes:
        for name, value in zip(_KEPT, counted[lane.id], strict=True):
            setattr(lane, name, value)
        lane.leave()
    return sum(_counts(lane) != was for lane, was in zip(lanes, before, strict=True))


def _counted(connection: Connection, lanes: Sequence[Sequence[Any]]) -> dict[int, list[Any]]:
    """Return the real values of :data:`_KEPT` by the number of the lane; ``lanes`` begin with that."""
    counted = {number: list(values) for number, *values in connection.execute(_COUNT).fetchall()}
    permits = dict(connection.execute(_PERMITS).fetchall())
    occupied: Counter[str] = Counter()
    for number, provider, *_ in lanes:
        counts = counted.setdefault(number, [0, 0, 0, 0, 0, 0, None])
        counts[_SLOTS] += permits.get(number, 0)
        occupied[provider] += counts[_SLOTS]
    for number, provider, key, *_ in lanes:
        if key == "":
            counted[number][_SLOTS] = occupied[provider]
    return counted


def _number(connection: Connection, sql: str) -> int:
    row: Any = connection.execute(sql).fetchone()
    return int(row[0])


#: What a lane counts, and when the first of its deliveries is due.
_KEPT: Final = ("queued", "deferred", "active", "held", "finished", "slots", "due")
_SLOTS: Final = _KEPT.index("slots")
_counts: Final = attrgetter(*_KEPT)

_LANES: Final = f"SELECT id, provider, key, {', '.join(_KEPT)} FROM lane ORDER BY id"  # noqa: S608 -- constants

_COUNT: Final = """
    SELECT lane, count(CASE WHEN state = 'queued' THEN 1 END), count(CASE WHEN state = 'deferred' THEN 1 END),
           count(CASE WHEN state = 'active' THEN 1 END), count(CASE WHEN state = 'held' THEN 1 END),
           count(ended), sum(slot), min(CASE WHEN suspect = 0 THEN due END)
    FROM delivery GROUP BY lane"""

_ORPHAN: Final = """
    SELECT o.message, o.n FROM {} o
    LEFT JOIN delivery d ON d.message = o.message AND d.n = o.n WHERE d.message IS NULL"""

_PERMITS: Final = "SELECT lane, sum(slot) FROM permit GROUP BY lane"

#: What must never be found, by what is wrong then; each gives the ids of the rows.
_NEVER: Final[dict[str, str]] = {
    "a delivery's columns contradict its state": """
        SELECT message, n, state FROM delivery
        WHERE (state IN ('queued', 'deferred') AND due IS NULL)
           OR (state NOT IN ('queued', 'deferred') AND due IS NOT NULL)
           OR (state IN ('delivered', 'failed', 'deleted') AND ended IS NULL)
           OR (state NOT IN ('delivered', 'failed', 'deleted') AND ended IS NOT NULL)
           OR (state = 'active' AND (lease IS NULL OR node = ''))
           OR (state <> 'active' AND (lease IS NOT NULL OR slot <> 0))
           OR (state <> 'active' AND node <> '' AND suspect = 0)""",
    "a suspect has ended": "SELECT message, n, state FROM delivery WHERE suspect <> 0 AND ended IS NOT NULL",
    "a delivery belongs to no message": """
        SELECT d.message, d.n FROM delivery d LEFT JOIN message m ON m.id = d.message WHERE m.id IS NULL""",
    "a recipient contradicts its delivery": """
        SELECT r.message, r.n, r.position, r.state, d.state FROM recipient r
        LEFT JOIN delivery d ON d.message = r.message AND d.n = r.n
        WHERE d.state IS NULL OR (d.state = 'delivered' AND r.state <> 'delivered')
           OR (d.state IN ('failed', 'deleted') AND r.state = 'open')
           OR (d.state <> 'deleted' AND r.state = 'deleted')""",
    "an open delivery has no recipients": """
        SELECT message, n, state FROM delivery d WHERE ended IS NULL AND NOT EXISTS (
            SELECT 1 FROM recipient r WHERE r.message = d.message AND r.n = d.n AND r.state = 'open')""",
    "a delivery that failed or was deleted has no recipient without the mail": """
        SELECT message, n FROM delivery d WHERE state IN ('failed', 'deleted') AND NOT EXISTS (
            SELECT 1 FROM recipient r WHERE r.message = d.message AND r.n = d.n
                AND r.state IN ('failed', 'deleted'))""",
    "an attempt belongs to no delivery": _ORPHAN.format("attempt"),
    "a credential belongs to no delivery": _ORPHAN.format("credential"),
    "an attempt is under way without its delivery": """
        SELECT a.message, a.n, a.number FROM attempt a
        LEFT JOIN delivery d ON d.message = a.message AND d.n = a.n
             AND d.state = 'active' AND d.attempt = a.number
        WHERE a.ended IS NULL AND d.message IS NULL""",
    "a delivery is under way without its attempt": """
        SELECT d.message, d.n, d.attempt FROM delivery d
        LEFT JOIN attempt a ON a.message = d.message AND a.n = d.n
             AND a.number = d.attempt AND a.ended IS NULL
        WHERE d.state = 'active' AND a.message IS NULL""",
    "a message has no delivery": """
        SELECT id FROM message m WHERE NOT EXISTS (SELECT 1 FROM delivery d WHERE d.message = m.id)""",
    "a message is finished before its deliveries, or not with them": """
        SELECT id FROM message m WHERE CASE WHEN finished IS NULL THEN 0 ELSE 1 END =
            CASE WHEN EXISTS (SELECT 1 FROM delivery d WHERE d.message = m.id AND d.ended IS NULL)
                 THEN 1 ELSE 0 END""",
    "a body is not whole": """
        SELECT id, size FROM message m
        WHERE (EXISTS (SELECT 1 FROM delivery d WHERE d.message = m.id
                       AND d.state NOT IN ('delivered', 'deleted'))
               OR EXISTS (SELECT 1 FROM chunk c WHERE c.message = m.id))
          AND size <> coalesce((SELECT sum(length(content)) FROM chunk c WHERE c.message = m.id), -1)""",
    "a body is kept that is not needed": """
        SELECT m.id FROM message m WHERE EXISTS (SELECT 1 FROM chunk c WHERE c.message = m.id)
          AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.message = m.id AND d.state <> 'deleted'
                          AND (d.state <> 'delivered' OR m.kept = 1))""",
    "a body has a gap": """
        SELECT c.message FROM chunk c JOIN message m ON m.id = c.message
        GROUP BY c.message HAVING max(c.n) <> count(*)""",
    "a delivery is held by a rule that is not there, or is not held": """
        SELECT d.message, d.n, d.hold, d.state FROM delivery d WHERE d.hold <> 0
          AND (d.state <> 'held' OR NOT EXISTS (SELECT 1 FROM hold h WHERE h.id = d.hold))""",
    "an attempt comes after the last one": """
        SELECT a.message, a.n, a.number, d.attempt FROM attempt a
        JOIN delivery d ON d.message = a.message AND d.n = a.n WHERE a.number > d.attempt""",
    "a lane contradicts itself on whether it is stopped": """
        SELECT provider, key, blocked_reason FROM lane
        WHERE (blocked_until IS NOT NULL AND (blocked_since IS NULL OR blocked_reason = ''))
           OR (blocked_until IS NULL
               AND (blocked_since IS NOT NULL OR blocked_reason <> '' OR resumes IS NOT NULL))""",
    "a permit is of a lane that does not exist": """
        SELECT o.name, o.lane FROM permit o LEFT JOIN lane l ON l.id = o.lane WHERE l.id IS NULL""",
    "a piece of a body belongs to nothing": """
        SELECT DISTINCT c.message FROM chunk c
        WHERE NOT EXISTS (SELECT 1 FROM message m WHERE m.id = c.message)
          AND NOT EXISTS (SELECT 1 FROM upload u WHERE u.message = c.message)""",
}
