"""
Mail leaves a lane that does not run, for one that does.

What waits in a lane that is stopped for long would wait for as long, though its route
has another provider. It is moved in small steps, so that a hundred thousand mails in
one lane never hold up the transactions of the others.
"""

from collections.abc import Sequence
from typing import Any, Final

from smtprelay.queue import Detour, Moved
from smtprelay.spool.connection import Transaction
from smtprelay.spool.lanes import Lane
from smtprelay.spool.stored import COLUMNS, delivery_of, first_due, storable

_PAGE: Final = (
    f"SELECT {COLUMNS}, d.due, d.state, d.blocked_before FROM delivery d JOIN message m ON m.id = d.message"  # noqa: S608 -- constants
    " WHERE d.lane = ? AND d.due <= ? AND (d.due, d.message, d.n) > (?, ?, ?)"
    " AND d.route IN ({routes}) AND (d.uncertain = 0 OR d.route IN ({lost}))"
    " ORDER BY d.due, d.message, d.n LIMIT ?"
)


def move(tx: Transaction, detour: Detour, limit: int) -> Moved:
    """Look at up to ``limit`` deliveries; see :meth:`smtprelay.interfaces.Spool.move`."""
    begin, *place = detour.mark or (0, detour.since, "", 0)
    lanes = tx.lanes.waiting(detour.provider, detour.lane, begin, limit)
    count, left = 0, limit
    for lane in lanes:
        rows = _page(tx, detour, lane, place if lane.id == begin else (detour.since, "", 0), left)
        moved = sum(_move(tx, detour, lane, row) for row in rows)
        if moved:
            lane.due = first_due(tx, lane)
        count += moved
        left -= len(rows)
        if left == 0:
            message, n, due = rows[-1][0], rows[-1][1], rows[-1][9]
            return Moved(count=count, until=tx.now, mark=(lane.id, due, message, n))
    mark = (lanes[-1].id + 1, detour.since, "", 0) if len(lanes) == limit else None
    return Moved(count=count, until=tx.now, mark=mark)


def _page(
    tx: Transaction, detour: Detour, lane: Lane, place: Sequence[Any], limit: int
) -> list[Sequence[Any]]:
    sql = _PAGE.format(routes=_marks(detour.routes), lost=_marks(detour.lost))
    parameters = (lane.id, tx.now, *place, *detour.routes, *detour.lost, limit)
    return tx.execute(sql, parameters).fetchall()


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def _move(tx: Transaction, detour: Detour, lane: Lane, row: Sequence[Any]) -> bool:
    """Move one delivery, if there is a lane for it that is open; it keeps its place in time."""
    delivery = delivery_of(tx, lane, row)
    due, state, blocked_before = row[9:]
    place = detour.onward(delivery)
    if place is None:
        return False
    following = tx.lanes.get(*place)
    if following.blocked_until is not None or tx.lanes.own(following).blocked_until is not None:
        return False
    setattr(lane, state, getattr(lane, state) - 1)
    following.wait(state, due)
    tx.execute(
        "UPDATE delivery SET lane = ?, blocked_before = ?, tries = 0, uncertain = 0, reason = ?"
        " WHERE message = ? AND n = ?",
        (
            following.id,
            blocked_before + tx.lanes.blocked_time(following) - tx.lanes.blocked_time(lane),
            storable(detour.reason),
            delivery.message,
            delivery.n,
        ),
    )
    return True
