"""
Whether the tables of a spool agree with each other.

The lanes keep counts, so that nothing on a mail's way has to count; here they are counted
anew. It reads everything, so it is for tests, and for an operator who has a doubt.
"""

from collections.abc import Iterator
from typing import Final

from smtprelay.spool.connection import Connection


def check(connection: Connection) -> list[str]:
    """Return a sentence for each thing that does not agree; none for a sound spool."""
    wrong = [
        f"{what}: {', '.join(str(value) for value in row)}"
        for what, sql in _NEVER.items()
        for row in connection.execute(sql).fetchall()
    ]
    return [*wrong, *_lanes(connection)]


def _lanes(connection: Connection) -> Iterator[str]:
    """Compare each lane with its deliveries."""
    lanes = connection.execute(
        "SELECT id, provider, key, queued, deferred, active, held, slots, due FROM lane ORDER BY id"
    ).fetchall()
    for number, provider, key, queued, deferred, active, held, slots, due in lanes:
        counted = connection.execute(_COUNT, (number,)).fetchone()
        occupied = counted[4] + connection.execute(_LENT, (number,)).fetchone()[0]
        if key == "":
            occupied = connection.execute(_OCCUPIED, (provider,)).fetchone()[0]
            occupied += connection.execute(_ALL_LENT, (provider,)).fetchone()[0]
        name = f"lane {provider!r} {key!r}"
        kept = {"queued": queued, "deferred": deferred, "active": active, "held": held, "slots": slots}
        for (what, value), real in zip(kept.items(), (*counted[:4], occupied), strict=True):
            if value != real:
                yield f"{name}: {what} is {value}, counted {real}"
        first = counted[5]
        if first is not None and (due is None or due > first):
            yield f"{name}: due is {due}, but a delivery is due {first}"


_COUNT: Final = """
    SELECT coalesce(sum(CASE WHEN state = 'queued' THEN 1 ELSE 0 END), 0),
           coalesce(sum(CASE WHEN state = 'deferred' THEN 1 ELSE 0 END), 0),
           coalesce(sum(CASE WHEN state = 'active' THEN 1 ELSE 0 END), 0),
           coalesce(sum(CASE WHEN state = 'held' THEN 1 ELSE 0 END), 0),
           coalesce(sum(slot), 0), min(due)
    FROM delivery WHERE lane = ?"""

_OCCUPIED: Final = """
    SELECT coalesce(sum(d.slot), 0) FROM delivery d JOIN lane l ON l.id = d.lane WHERE l.provider = ?"""

_LENT: Final = "SELECT coalesce(sum(slot), 0) FROM loan WHERE lane = ?"

_ALL_LENT: Final = """
    SELECT coalesce(sum(o.slot), 0) FROM loan o JOIN lane l ON l.id = o.lane WHERE l.provider = ?"""

#: What must never be found, by what is wrong then; each gives the ids of the rows.
_NEVER: Final[dict[str, str]] = {
    "a delivery's columns contradict its state": """
        SELECT message, n, state FROM delivery
        WHERE (state IN ('queued', 'deferred')) != (due IS NOT NULL)
           OR (state IN ('delivered', 'failed')) != (ended IS NOT NULL)
           OR (state = 'active') != (lease IS NOT NULL) OR (state = 'active') != (node != '')
           OR (slot != 0 AND state != 'active')""",
    "a recipient contradicts its delivery": """
        SELECT r.message, r.n, r.position, r.state, d.state FROM recipient r
        LEFT JOIN delivery d ON d.message = r.message AND d.n = r.n
        WHERE d.state IS NULL OR (d.state = 'delivered' AND r.state != 'delivered')
           OR (d.state = 'failed' AND r.state = 'open')""",
    "a delivery that goes on has nobody to go to": """
        SELECT message, n, state FROM delivery d WHERE ended IS NULL AND NOT EXISTS (
            SELECT 1 FROM recipient r WHERE r.message = d.message AND r.n = d.n AND r.state = 'open')""",
    "a delivery that failed has no recipient who did": """
        SELECT message, n FROM delivery d WHERE state = 'failed' AND NOT EXISTS (
            SELECT 1 FROM recipient r WHERE r.message = d.message AND r.n = d.n AND r.state = 'failed')""",
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
        SELECT id FROM message m WHERE (finished IS NULL) !=
            EXISTS (SELECT 1 FROM delivery d WHERE d.message = m.id AND d.ended IS NULL)""",
    "a body is not whole": """
        SELECT id, size FROM message m
        WHERE EXISTS (SELECT 1 FROM delivery d WHERE d.message = m.id AND d.state != 'delivered')
          AND size != coalesce((SELECT sum(length(content)) FROM chunk c WHERE c.message = m.id), -1)""",
    "a body is kept though everybody has it": """
        SELECT DISTINCT c.message FROM chunk c JOIN message m ON m.id = c.message
        WHERE NOT EXISTS (SELECT 1 FROM delivery d WHERE d.message = m.id AND d.state != 'delivered')""",
    "a piece of a body belongs to nothing": """
        SELECT DISTINCT c.message FROM chunk c
        WHERE NOT EXISTS (SELECT 1 FROM message m WHERE m.id = c.message)
          AND NOT EXISTS (SELECT 1 FROM upload u WHERE u.message = c.message)""",
}
