"""
The lanes' counts, put right: what they say is what their deliveries are.

Nothing needs this as long as nobody but the relay writes into its spool. It looks at what is alive
alone, in one transaction, so that no count can change under it.
"""

from typing import Final

from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.tables.lanes import Lane

#: A row for each lane in which something is alive.
_ALIVE: Final = """
    SELECT lane, count(CASE WHEN state = 'queued' THEN 1 END), count(CASE WHEN state = 'deferred' THEN 1 END),
           count(CASE WHEN state = 'active' THEN 1 END), count(CASE WHEN state = 'held' THEN 1 END),
           sum(slot), min(CASE WHEN suspect = 0 THEN due END)
    FROM delivery WHERE ended IS NULL GROUP BY lane"""


def recount(tx: Transaction) -> int:
    """Give each lane the counts of its deliveries; return how many lanes had others."""
    numbers = [number for (number,) in tx.execute("SELECT id FROM lane ORDER BY id").fetchall()]
    lanes = [tx.lanes.by_id(number) for number in numbers]
    before = [_counts(lane) for lane in lanes]
    counted = {row[0]: row[1:] for row in tx.execute(_ALIVE).fetchall()}
    lent = dict(tx.execute("SELECT lane, sum(slot) FROM loan GROUP BY lane").fetchall())
    occupied: dict[str, int] = {}
    for lane in lanes:
        counts = counted.get(lane.id, (0, 0, 0, 0, 0, None))
        lane.queued, lane.deferred, lane.active, lane.held, lane.slots, lane.due = counts
        lane.slots += lent.get(lane.id, 0)
        occupied[lane.provider] = occupied.get(lane.provider, 0) + lane.slots
    for lane in lanes:
        if lane.key == "":
            lane.slots = occupied[lane.provider]
    return sum(_counts(lane) != was for lane, was in zip(lanes, before, strict=True))


def _counts(lane: Lane) -> tuple[int, int, int, int, int, float | None]:
    return lane.queued, lane.deferred, lane.active, lane.held, lane.slots, lane.due
