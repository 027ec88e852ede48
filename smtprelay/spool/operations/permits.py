"""
Permits for synchronous deliveries, which share slots, rates and blocks of the lanes with the queue.

Such a delivery has no row in the queue, but the provider's limits count both kinds. So it takes a permit,
stored in the table ``permit``: it occupies a slot, and its outcome may block or throttle the lane for all. A
permit has a lease, because its node may die.
"""

from collections.abc import Sequence
from typing import Any, Final

from smtprelay.model.attempt import Busy, Feedback, Permit
from smtprelay.model.rate_limit import LEAST, Load
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.operations import lane_throttle, suspects
from smtprelay.spool.operations.lane_capacity import LaneCapacity, release
from smtprelay.spool.operations.settle import set_block

#: Seconds after which a permit ends in any case; no request takes as long.
LONGEST: Final = 600.0


def acquire(tx: Transaction, name: str, provider: str, lane: str, load: Load = LEAST) -> Permit | Busy:
    """Take a slot of a lane, and a token of each window, for a request that the spool does not make."""
    rate_limit = tx.node.rate_limits.get(provider)
    if rate_limit is None:
        return Busy(reason="the configuration has no such provider any more")
    capacity = LaneCapacity(tx, provider, rate_limit)
    place = tx.lanes.get(provider, lane)
    for stopped in (capacity.own, place):
        if stopped.blocked_until is not None:
            return Busy(reason=stopped.blocked_reason, until=stopped.blocked_until)
    if tx.node.exclusive.blocks(tx.now):
        return Busy()
    if capacity.room_in(place, load) < 1:
        opens = capacity.opens_in(place, load)
        return Busy(until=opens if opens > tx.now else None)
    capacity.take_slot(place, load)
    tx.execute(
        "INSERT INTO permit (name, node, lane, slot, started, lease) VALUES (?, ?, ?, 1, ?, ?)",
        (name, tx.node.name, place.id, tx.now, tx.now + LONGEST),
    )
    return Permit(name=name, provider=provider, lane=lane, node=tx.node.name)


def give_back(tx: Transaction, permit: Permit, feedback: Feedback | None) -> bool:
    """Release the slot of a permit; return whether a delivery may wait for it."""
    # The lock on the lane protects its permits: another node may be reclaiming this one.
    lane = tx.lanes.get(permit.provider, permit.lane)
    row = tx.execute(
        "SELECT slot, started FROM permit WHERE name = ? AND node = ?", (permit.name, permit.node)
    ).fetchone()
    if row is not None:
        slot, started = row
        if slot:
            release(tx, lane)
        if feedback is None:
            tx.execute("UPDATE permit SET slot = 0 WHERE name = ?", (permit.name,))
        else:
            tx.execute("DELETE FROM permit WHERE name = ?", (permit.name,))
            lane_throttle.learn(tx, lane, feedback.outcomes, started)
    if feedback is not None and feedback.block is not None:
        set_block(tx, feedback.block)
        return True
    # What came of it may have closed the lane for a moment: then who waits must learn until when.
    return tx.lanes.has_due(lane) or suspects.any_wait(tx)


def forget(tx: Transaction, where: str, parameters: Sequence[Any]) -> None:
    """Release the permits that match ``where``: their holders are gone."""
    rows = tx.execute(f"SELECT name, lane FROM permit WHERE {where}", parameters).fetchall()  # noqa: S608
    for name, number in rows:
        lane = tx.lanes.by_id(number)
        # No row if another node did so before we locked the lane.
        row = tx.execute("DELETE FROM permit WHERE name = ? RETURNING slot", (name,)).fetchone()
        if row is not None and row[0]:
            release(tx, lane)
