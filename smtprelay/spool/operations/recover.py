"""
Recovers claims of stopped or dead nodes, and tells other nodes whether this one takes new work.

An attempt that was under way has an intent and no outcome: its delivery becomes ``uncertain``, and no other
does. If its node died, this delivery may have caused it: it is a suspect
(:mod:`smtprelay.spool.operations.suspects`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from smtprelay.interfaces import Events
from smtprelay.model.queue import ASKED_TO_WAIT, SUSPENDED
from smtprelay.model.route import RateLimit
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.operations import permits, suspects
from smtprelay.spool.operations.lane_capacity import release
from smtprelay.spool.operations.unreachable import FORGET_GONE

_CLAIMED: Final = (
    "SELECT message, n, attempt, lane, slot, suspect FROM delivery WHERE ended IS NULL AND state = 'active'"
)

_DIED: Final = "the relay stopped while this attempt was under way"
_STOPPED: Final = "the relay was stopped while this attempt was under way"
_SILENT: Final = "its relay did not renew its claim while this attempt was under way"

#: Of nodes that have done nothing for as long as a lease all leases have run out.
_DEAD: Final = """
    SELECT DISTINCT d.node FROM delivery d LEFT JOIN node o ON o.name = d.node
    WHERE d.ended IS NULL AND d.state = 'active' AND d.lease < ? AND d.node <> ?
        AND (o.name IS NULL OR o.seen < ?)"""

#: What a node has under way, at a moment before any of it was taken from it.
_UNDER_WAY: Final = """
    SELECT (SELECT count(*) FROM delivery WHERE ended IS NULL AND state = 'active' AND node = ?)
        + (SELECT count(*) FROM permit WHERE node = ?)"""

#: Suspects whose node is gone.
_ADOPT: Final = """
    UPDATE delivery SET node = ? WHERE suspect > 0 AND due IS NOT NULL AND node <> ?
        AND NOT EXISTS (SELECT 1 FROM node o WHERE o.name = delivery.node)"""

#: Nodes that had begun to receive a message.
_GONE: Final = """
    SELECT DISTINCT u.node FROM upload u LEFT JOIN node o ON o.name = u.node
    WHERE u.node <> ? AND (o.name IS NULL OR o.seen < ?)"""

_PUT_BACK: Final = """
    UPDATE delivery SET
        state = ?, due = ?, suspect = ?, node = ?, uncertain = 1, slot = 0, lease = NULL, reason = ?
    WHERE message = ? AND n = ?"""

_NO_OUTCOME: Final = """
    UPDATE attempt SET ended = ?, outcome = 'uncertain', reason = ?
    WHERE message = ? AND n = ? AND number = ?"""


#: Between the probes of two lanes of a provider, seconds: thousands of mailboxes may be blocked.
_PROBES_APART: Final = 0.2


@frozen
class Recovered:
    """
    The deliveries that were put back.

    :ivar count: how many deliveries.
    :ivar held: those of them that are held as crash loops: message, delivery and provider.
    """

    count: int = 0
    held: tuple[tuple[str, str, str], ...] = ()

    def __add__(self, other: "Recovered") -> "Recovered":
        return Recovered(self.count + other.count, self.held + other.held)

    def report(self, events: Events) -> int:
        """Report what is held; return the count."""
        for message, delivery, provider in self.held:
            events(
                "message.held", message=message, delivery=delivery, provider=provider, reason=suspects.REASON
            )
        return self.count


def recover(tx: Transaction) -> Recovered:
    """Put back what this node had claimed when it died, and see whether a new configuration opens lanes."""
    found = _from_dead(tx, tx.node.name, _DIED)
    permits.forget(tx, "node = ?", (tx.node.name,))
    _forget_uploads(tx, tx.node.name)
    _try_lanes(tx)
    return found


def reconfigure(tx: Transaction, rate_limits: Mapping[str, RateLimit]) -> None:
    """Claim by ``rate_limits`` from now on, and see whether the new configuration opens lanes."""
    replace(tx.node.rate_limits, rate_limits)
    _try_lanes(tx)


def replace(current: dict[str, RateLimit], rate_limits: Mapping[str, RateLimit]) -> None:
    """Replace them in place; never empty meanwhile: readers on other threads look up single providers."""
    current.update(rate_limits)
    for name in current.keys() - rate_limits.keys():
        del current[name]


def _try_lanes(tx: Transaction) -> None:
    tx.lanes.take(tx.node.rate_limits)
    for provider in tx.node.rate_limits:
        _probe_soon(tx, provider)
        tx.lanes.recheck(provider)


def put_back_own(tx: Transaction) -> Recovered:
    """Put back what this node has claimed and gives up, for it stops."""
    found = _put_back(tx, _claimed(tx, "node = ?", (tx.node.name,)), _STOPPED)
    permits.forget(tx, "node = ?", (tx.node.name,))
    return found


def reclaim(tx: Transaction) -> Recovered:
    """
    Put back what other nodes had claimed when they died or froze, all that one of them had at once.

    Their leases have run out. So has, after as long again, that of a claim that nobody renews: nobody knows
    of it, for the answer to its commit was lost.

    While the database was unavailable no node could renew: each gets one more lease to do so.
    """
    found = Recovered()
    if tx.now < tx.back + tx.node.lease:
        return found
    for (node,) in tx.execute(_DEAD, (tx.now, tx.node.name, tx.now - tx.node.lease)).fetchall():
        found += _from_dead(tx, node, _SILENT)
    found += _put_back(tx, _claimed(tx, "lease < ?", (tx.now - tx.node.lease,)), _SILENT)
    permits.forget(tx, "lease < ?", (tx.now,))
    for (node,) in tx.execute(_GONE, (tx.node.name, tx.now - 2 * tx.node.lease)).fetchall():
        _forget_uploads(tx, node)
    tx.execute("DELETE FROM node WHERE seen < ? AND name <> ?", (tx.now - 2 * tx.node.lease, tx.node.name))
    tx.execute(_ADOPT, (tx.node.name, tx.node.name))
    tx.execute(FORGET_GONE, (tx.node.name,))
    return found


def _probe_soon(tx: Transaction, provider: str) -> None:
    """Have the blocked lanes of a provider probed one after the other; a pause it asked for is kept."""
    for place, lane in enumerate(tx.lanes.blocked(provider)):
        until = lane.blocked_until
        if until not in (None, SUSPENDED) and not lane.blocked_reason.startswith(ASKED_TO_WAIT):
            lane.blocked_until = min(until, tx.now + place * _PROBES_APART)


def _claimed(tx: Transaction, which: str, parameters: Sequence[Any]) -> list[Any]:
    # Another node may be about to take them back; and who is only slow may hold them still.
    return tx.execute(f"{_CLAIMED} AND {which}{tx.node.locking.free_row}", parameters).fetchall()


def _from_dead(tx: Transaction, node: str, why: str) -> Recovered:
    """Put back what a node had that died: all of it is suspect."""
    tx.node.exclusive.suspects = True
    (under_way,) = tx.execute(_UNDER_WAY, (node, node)).fetchone()
    rows = _claimed(tx, "node = ?", (node,))
    return _put_back(tx, rows, why, step=suspects.ALONE - suspects.NEARBY if under_way == 1 else 0, died=True)


def _put_back(
    tx: Transaction, rows: Sequence[Sequence[Any]], why: str, *, step: int = 0, died: bool = False
) -> Recovered:
    """Queue them again, or hold what is a crash loop."""
    held = []
    for message, n, attempt, number, slot, before in rows:
        lane = tx.lanes.by_id(number)
        lane.active -= 1
        if slot:
            release(tx, lane)
        suspect = max(before, suspects.NEARBY) + step if died else before
        state, reason, node = "queued", why, tx.node.name if suspect else ""
        due: float | None = tx.now
        if suspect >= suspects.CRASH_LOOP:
            state, reason, node, due = "held", suspects.REASON, "", None
            held.append((message, f"{message}.{n}", lane.provider))
            lane.held += 1
        elif suspect:
            lane.queued += 1
        else:
            lane.wait("queued", tx.now)
        tx.execute(_PUT_BACK, (state, due, suspect, node, reason, message, n))
        tx.execute(_NO_OUTCOME, (tx.now, why, message, n, attempt))
    return Recovered(len(rows), tuple(held))


def _forget_uploads(tx: Transaction, node: str) -> None:
    """Drop what a node had of messages that were still arriving."""
    tx.execute("DELETE FROM chunk WHERE message IN (SELECT message FROM upload WHERE node = ?)", (node,))
    tx.execute("DELETE FROM upload WHERE node = ?", (node,))


def set_draining(tx: Transaction, draining: bool) -> None:
    """Tell the other nodes whether this one takes new work."""
    tx.execute("UPDATE node SET draining = ? WHERE name = ?", (int(draining), tx.node.name))
