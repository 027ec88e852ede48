"""
Taking what is due, and keeping or returning what was taken.

``claim`` goes round the lanes of each provider in which something is due, the
longest unserved first, and takes one delivery from each in turn: a lane with a
hundred thousand mails and a lane with one get the same share, and each turn costs the
same whatever waits behind it. What it cannot take it accounts for: it waits for a
time, for a slot, or for a lane to be opened.

What was under way when a relay died is taken by itself (:mod:`smtprelay.spool.operations.suspects`).
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from attrs import define, field

from smtprelay.model.attempt import Claim, ClaimBatch
from smtprelay.model.queue import ACTIONS, SUSPENDED
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.operations import suspects
from smtprelay.spool.operations.lane_capacity import LaneGate, release
from smtprelay.spool.operations.suspects import Suspect
from smtprelay.spool.tables.deliveries import COLUMNS, WIDTH, deliveries_of, first_due, marks, portions
from smtprelay.spool.tables.lanes import Lane

_EDITS: Final = ", ".join(f"'{action}'" for action in ACTIONS)
_SELECT: Final = (
    f"SELECT {COLUMNS}, d.state, d.attempt, d.tries, d.deferrals, d.errors, d.uncertain,"  # noqa: S608
    " d.blocked_before, CASE WHEN d.attempt = 0 THEN 0 ELSE (SELECT count(*) FROM attempt a"
    f" WHERE a.message = d.message AND a.n = d.n AND a.outcome IN ({_EDITS})) END"
    " FROM delivery d JOIN message m ON m.id = d.message WHERE "
)
_DUE: Final = f"{_SELECT}d.lane = ? AND d.due <= ? AND d.suspect = 0 ORDER BY d.due, d.message, d.n LIMIT ?"
_ONE: Final = f"{_SELECT}d.message = ? AND d.n = ? AND d.suspect > 0 AND d.due IS NOT NULL"

_TAKE: Final = """
    UPDATE delivery SET
        state = 'active', due = NULL, attempt = attempt + 1, node = ?, slot = 1, lease = ?, uncertain = 0
    WHERE n = ? AND message IN ({})"""

_RENEW: Final = """
    UPDATE delivery SET lease = ?
    WHERE n = ? AND attempt = ? AND node = ? AND state = 'active' AND message IN ({})"""


@define
class _Found:
    """What becomes a :class:`ClaimBatch`."""

    claims: list[Claim] = field(factory=list)
    probes: list[tuple[str, str]] = field(factory=list)
    stopped: list[tuple[str, str]] = field(factory=list)
    suspended: list[tuple[str, str]] = field(factory=list)
    dues: list[float] = field(factory=list)
    waiting: bool = False


def claim(tx: Transaction, limit: int) -> ClaimBatch:
    """Take up to ``limit`` deliveries that may go now: :meth:`smtprelay.interfaces.spool.WorkQueue.claim`."""
    found = _Found()
    tx.lanes.take(list(tx.paces))
    gates = {provider: LaneGate(tx, provider, pace) for provider, pace in tx.paces.items()}
    waiting = suspects.find(tx, gates)
    exclusive = tx.exclusive.blocks(tx.now)
    for done, gate in enumerate(gates.values()):
        left = 0 if exclusive else limit - len(found.claims)
        # A share for each, so that one with a hundred thousand mails leaves something for the others.
        _claim_provider(tx, gate, min(left, max(1, left // (len(gates) - done))), found)
        _note_blocked(tx, gate, found)
        if gate.own.blocked_until is None:
            _note_waiting(tx, gate, found, exclusive=exclusive)
    if waiting:
        _claim_suspect(tx, waiting, found)
    return ClaimBatch(
        claims=found.claims,
        probes=found.probes,
        stopped=found.stopped,
        suspended=found.suspended,
        waiting=found.waiting,
        due=min(found.dues, default=None),
    )


def release_slot(tx: Transaction, claimed: Claim) -> None:
    """Release the slot of a claim whose body the provider has."""
    tx.exclusive.end_for(claimed.delivery.id)
    row = tx.execute(
        "UPDATE delivery SET slot = 0 WHERE message = ? AND n = ? AND state = 'active' AND node = ?"
        " AND attempt = ? AND slot = 1 RETURNING lane",
        (claimed.delivery.message, claimed.delivery.n, claimed.node, claimed.attempt),
    ).fetchone()
    if row is not None:
        release(tx, tx.lanes.by_id(row[0]))


def renew(tx: Transaction, claims: Sequence[Claim]) -> None:
    """Let the leases of ``claims`` begin anew."""
    for (n, attempt, node), group in groupby(sorted(claims, key=_fence), key=_fence):
        for some in portions([claim.delivery.message for claim in group]):
            tx.execute(_RENEW.format(marks(some)), (tx.now + tx.lease, n, attempt, node, *some))


def _fence(claim: Claim) -> tuple[int, int, str]:
    return claim.delivery.n, claim.attempt, claim.node


def _claim_provider(tx: Transaction, gate: LaneGate, limit: int, found: _Found) -> None:
    """Take from the lanes of one provider, in rounds; in each of them all lanes get the same share."""
    provider, left = gate.own.provider, limit
    while gate.room > 0 and left > 0:
        lanes = tx.lanes.ready(provider, gate.per_lane, left)
        share = max(1, min(gate.room, left) // max(1, len(lanes)))
        before = left
        for lane in lanes:
            claims = _claim_lane(tx, gate, lane, min(share, left, gate.room_in(lane)))
            found.claims += claims
            left -= len(claims)
        # A lane gives something or is not due any more, unless another node is changing just that.
        if left == before and all(lane.due is not None and lane.due <= tx.now for lane in lanes):
            break


def _note_blocked(tx: Transaction, gate: LaneGate, found: _Found) -> None:
    """Note which lanes are to be probed, now or later, and in which of them mail waits."""
    suspended = gate.own.blocked_until == SUSPENDED
    for lane in tx.lanes.blocked(gate.own.provider):
        place = (lane.provider, lane.key)
        assert lane.blocked_until is not None
        if lane.blocked_until == SUSPENDED:
            # No probe's time will wake anybody for what becomes due there.
            found.suspended.append(place)
            dues = (tx.lanes.next_due(lane.provider, blocked=True), lane.resumes)
            found.dues += [due for due in dues if due is not None]
        elif suspended:
            pass  # to probe one of its lanes is to ask the provider
        elif lane.blocked_until <= tx.now:
            found.probes.append(place)
        else:
            found.dues.append(lane.blocked_until)
        if lane is gate.own:
            held_up = tx.lanes.is_due(lane.provider, blocked=True)
        else:
            held_up = lane.due is not None and lane.due <= tx.now
        if held_up:
            found.stopped.append(place)


def _claim_suspect(tx: Transaction, waiting: Sequence[Suspect], found: _Found) -> None:
    """Take one suspect if nothing else is under way, or note when that may be."""
    found.dues += [each.due for each in waiting if each.due > tx.now]
    due = [each for each in waiting if each.due <= tx.now]
    ready = [each for each in due if each.gate.room_in(each.lane)]
    if due and not ready:
        # Another node may have the slots, and its attempts end without our hearing of it.
        opens = min(max(each.gate.opens(), each.lane.opens) for each in due)
        found.dues.append(opens if opens > tx.now else tx.now + tx.lease / 2)
        found.waiting = True
    elif ready and (found.claims or not suspects.is_idle(tx)):
        found.dues.append(suspects.next_turn(ready, tx.now))
        found.waiting = True
    else:
        for each in ready:
            rows = tx.execute(_ONE + tx.locking.free_delivery, (each.message, each.n)).fetchall()
            if rows:
                found.claims += _begin(tx, each.gate, each.lane, rows)
                tx.exclusive.begin(found.claims[0].delivery.id, tx.now + suspects.MOST_ALONE)
                found.waiting = found.waiting or len(due) > 1
                return


def _note_waiting(tx: Transaction, gate: LaneGate, found: _Found, *, exclusive: bool) -> None:
    """Note when more may be taken: at a time, or as soon as there is a slot, or nothing alone any more."""
    provider, opens = gate.own.provider, gate.opens()
    later = tx.lanes.next_due(provider)
    if later is not None:
        found.dues.append(max(later, opens))
    if not tx.lanes.is_due(provider):
        return
    if exclusive:
        found.dues.append(tx.exclusive.until)
        found.waiting = True
    elif opens > tx.now or (gate.room > 0 and tx.lanes.ready(provider, gate.per_lane, 1)):
        found.dues.append(opens)
    else:
        found.waiting = True


def _claim_lane(tx: Transaction, gate: LaneGate, lane: Lane, count: int) -> list[Claim]:
    """Take up to ``count`` deliveries that are due in ``lane``, and note when the next one is."""
    if count < 1:
        return []
    rows = tx.execute(_DUE + tx.locking.free_delivery, (lane.id, tx.now, count)).fetchall()
    claims = _begin(tx, gate, lane, rows)
    lane.due = first_due(tx, lane)
    return claims


def _begin(tx: Transaction, gate: LaneGate, lane: Lane, rows: Sequence[Sequence[Any]]) -> list[Claim]:
    """Claim the deliveries of ``rows``, which are due in ``lane``."""
    claims = []
    for delivery, row in zip(deliveries_of(tx, lane.place, rows), rows, strict=True):
        state, attempts, tries, deferrals, errors, uncertain, blocked_before, edits = row[WIDTH:]
        claims.append(
            Claim(
                delivery=delivery,
                node=tx.node,
                attempt=attempts + 1,
                tries=tries,
                deferrals=deferrals,
                age=tx.now - delivery.received - (tx.lanes.blocked_time(lane) - blocked_before),
                uncertain=bool(uncertain),
                errors=errors,
                edits=edits,
            )
        )
        setattr(lane, state, getattr(lane, state) - 1)
        gate.occupy(lane)
    _take(tx, claims)
    return claims


def _take(tx: Transaction, claims: Sequence[Claim]) -> None:
    """Write the intents."""
    messages: dict[int, list[str]] = {}
    for claim in claims:
        delivery = claim.delivery
        messages.setdefault(delivery.n, []).append(delivery.message)
        where = (delivery.message, delivery.n, claim.attempt)
        tx.insert("attempt", (*where, delivery.provider, tx.node, tx.now, None, "", ""))
    for n, each in messages.items():
        for some in portions(each):
            tx.execute(_TAKE.format(marks(some)), (tx.node, tx.now + tx.lease, n, *some))
