"""
Mail that may be why the relay died, and the way in which that is found out.

A delivery whose attempt was under way when its relay died is a suspect. It goes again, but after the rest
and alone: nothing else of its node is under way then, and nothing begins. An attempt that ends clears the
mark. At the second death in a row while it was alone it is held as a crash loop. So other mail that was under
way is not held for it, and one mail cannot end the relay again and again.

On a node that is never idle a suspect would wait for ever, so from time to time nothing else begins for a
while.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.operations.lane_capacity import LaneCapacity
from smtprelay.spool.tables.lane import Lane

#: Values of the column ``suspect``: attempted when the relay died; attempted alone then; twice alone.
NEARBY: Final = 1
ALONE: Final = 2
CRASH_LOOP: Final = 3

#: The first word of the reason why such a delivery is held.
REASON: Final = (
    "crash_loop: the relay died twice while this mail alone was under way;"
    " release it to try it again, or delete it"
)

#: Seconds for which nothing begins beside a suspect: one that hangs must not hold up all mail.
MOST_ALONE: Final = 60.0

#: Seconds to wait for an idle moment; then nothing else begins for ``PAUSE`` seconds; and so on.
PATIENCE: Final = 60.0
PAUSE: Final = 30.0

#: Suspects that are looked at at once; more than a node has under way.
_MOST: Final = 500

#: Those under way, which are not due, then those that wait, and those in stopped lanes at last.
_SUSPECTS: Final = """
    SELECT d.message, d.n, d.lane, d.due, d.node, d.slot FROM delivery d
        JOIN lane l ON l.id = d.lane JOIN lane own ON own.provider = l.provider AND own.key = ''
    WHERE suspect > 0 AND suspect < 3
    ORDER BY d.due IS NOT NULL, coalesce(l.blocked_until, own.blocked_until) IS NOT NULL,
        suspect, d.due, d.message, d.n
    LIMIT ?"""

_WAITING: Final = "SELECT 1 FROM delivery WHERE suspect > 0 AND suspect < 3 AND due IS NOT NULL LIMIT 1"

_BUSY: Final = """
    SELECT 1 FROM delivery WHERE ended IS NULL AND state = 'active' AND node = ?
    UNION ALL SELECT 1 FROM permit WHERE node = ? LIMIT 1"""

_CLEAR: Final = "UPDATE delivery SET suspect = 0, node = '' WHERE message = ? AND n = ? AND due IS NOT NULL"


@frozen
class Suspect:
    """
    A suspect that waits; it is due, unless the system clock was set back.

    :ivar capacity: of its provider.
    :ivar ours: this node sees to it that it does not wait for ever.
    """

    message: str
    n: int
    lane: Lane
    capacity: LaneCapacity
    due: float
    ours: bool


def find(tx: Transaction, capacities: Mapping[str, LaneCapacity]) -> list[Suspect]:
    """
    Return the suspects that wait, in their order, but for those in lanes that are stopped.

    It sets in ``tx.node.exclusive`` whether anything else may begin now.

    :param capacities: of the providers that may be asked, by name.
    """
    rows = tx.execute(_SUSPECTS, (_MOST,)).fetchall() if _may_be_some(tx) else ()
    tx.node.exclusive.suspects = bool(rows)
    waiting = list(_waiting(tx, capacities, rows))
    for message, n, _, due, node, slot in rows:
        if due is None and node == tx.node.name and slot:
            if tx.node.exclusive.delivery != f"{message}.{n}":
                tx.node.exclusive.begin(f"{message}.{n}", tx.now + MOST_ALONE)
            return waiting
    tx.node.exclusive.end()
    pausing = [
        until
        for each in waiting
        if each.ours and each.capacity.room_in(each.lane) and (until := _pause(each, tx.now)) is not None
    ]
    if pausing:
        tx.node.exclusive.begin("", max(pausing))
    return waiting


def any_wait(tx: Transaction) -> bool:
    """Tell whether a suspect waits."""
    return _may_be_some(tx) and tx.execute(_WAITING).fetchone() is not None


def is_idle(tx: Transaction) -> bool:
    """Tell whether nothing of this node is under way."""
    return tx.execute(_BUSY, (tx.node.name, tx.node.name)).fetchone() is None


def next_start(waiting: Sequence[Suspect], now: float) -> float:
    """Return when the next pause begins or ends for one of ``waiting``."""
    phases = [_phase(each, now) for each in waiting]
    return min(now - phase + (PATIENCE if phase < PATIENCE else PATIENCE + PAUSE) for phase in phases)


def _may_be_some(tx: Transaction) -> bool:
    # With one node there are none until the relay dies again.
    return tx.node.exclusive.suspects or bool(tx.node.locking.row)


def _waiting(
    tx: Transaction, capacities: Mapping[str, LaneCapacity], rows: Sequence[Sequence[Any]]
) -> Iterator[Suspect]:
    for message, n, number, due, node, _ in rows:
        if due is None:
            continue
        lane = tx.lanes.by_id(number)
        capacity = capacities.get(lane.provider)
        if capacity is None:
            # It is not attempted here; elsewhere it is attempted like other mail.
            tx.execute(_CLEAR, (message, n))
            lane.due_at(due)
        elif lane.blocked_until is None and capacity.own.blocked_until is None:
            yield Suspect(message, n, lane, capacity, due, node == tx.node.name)


def _phase(suspect: Suspect, now: float) -> float:
    return max(0.0, now - suspect.due) % (PATIENCE + PAUSE)


def _pause(suspect: Suspect, now: float) -> float | None:
    """Return until when nothing else begins for this one; ``None``: others may."""
    phase = _phase(suspect, now)
    return None if phase < PATIENCE else now + PATIENCE + PAUSE - phase
