"""
Mail leaves a lane that does not run, for one that does.

What waits in a lane that is stopped for long would wait for as long, though its route
has another provider. It is moved in small steps, so that a hundred thousand mails in
one lane never hold up the transactions of the others.
"""

from collections.abc import Sequence
from typing import Any, Final

from smtprelay.model.message import Delivery
from smtprelay.model.queue import Reroute, Rerouted
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.tables.deliveries import COLUMNS, WIDTH, deliveries_of, first_due, marks, storable
from smtprelay.spool.tables.lanes import Lane

_PAGE: Final = (
    f"SELECT {COLUMNS}, d.due, d.state, d.blocked_before FROM delivery d JOIN message m ON m.id = d.message"  # noqa: S608 -- constants
    " WHERE d.lane = ? AND d.due <= ? AND (d.due, d.message, d.n) > (?, ?, ?)"
    " AND d.route IN ({routes}) AND (d.uncertain = 0 OR d.route IN ({lost}))"
    " ORDER BY d.due, d.message, d.n LIMIT ?{lock}"
)


def move(tx: Transaction, reroute: Reroute, limit: int) -> Rerouted:
    """Look at up to ``limit`` deliveries; see :meth:`smtprelay.interfaces.Spool.move`."""
    begin, *place = reroute.mark or (0, reroute.since, "", 0)
    lanes = tx.lanes.waiting(reroute.provider, reroute.lane, begin, limit)
    count, left = 0, limit
    for lane in lanes:
        rows = _page(tx, reroute, lane, place if lane.id == begin else (reroute.since, "", 0), left)
        deliveries = zip(deliveries_of(tx, lane, rows), rows, strict=True)
        moved = sum(_move(tx, reroute, lane, delivery, row) for delivery, row in deliveries)
        if moved:
            lane.due = first_due(tx, lane)
        count += moved
        left -= len(rows)
        if left == 0:
            message, n, due = rows[-1][0], rows[-1][1], rows[-1][WIDTH]
            return Rerouted(count=count, until=tx.now, mark=(lane.id, due, message, n))
    mark = (lanes[-1].id + 1, reroute.since, "", 0) if len(lanes) == limit else None
    return Rerouted(count=count, until=tx.now, mark=mark)


def _page(
    tx: Transaction, reroute: Reroute, lane: Lane, place: Sequence[Any], limit: int
) -> list[Sequence[Any]]:
    sql = _PAGE.format(routes=marks(reroute.routes), lost=marks(reroute.lost), lock=tx.locking.free_delivery)
    parameters = (lane.id, tx.now, *place, *reroute.routes, *reroute.lost, limit)
    return tx.execute(sql, parameters).fetchall()


def _move(tx: Transaction, reroute: Reroute, lane: Lane, delivery: Delivery, row: Sequence[Any]) -> bool:
    """Move one delivery, if there is a lane for it that is open; it keeps its place in time."""
    due, state, blocked_before = row[WIDTH:]
    place = reroute.onward(delivery)
    if place is None:
        return False
    following = tx.lanes.get(*place)
    if following.blocked_until is not None or tx.lanes.own(following).blocked_until is not None:
        return False
    setattr(lane, state, getattr(lane, state) - 1)
    following.wait(state, due)
    tx.execute(
        "UPDATE delivery SET lane = ?, blocked_before = ?, tries = 0, uncertain = 0, suspect = 0,"
        " node = '', reason = ?"
        " WHERE message = ? AND n = ?",
        (
            following.id,
            blocked_before + tx.lanes.blocked_time(following) - tx.lanes.blocked_time(lane),
            storable(reroute.reason),
            delivery.message,
            delivery.n,
        ),
    )
    return True
