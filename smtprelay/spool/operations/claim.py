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
from smtprelay.model.queue import ACTIONS, ASKED_TO_WAIT, SUSPENDED
from smtprelay.model.rate_limit import Load
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.operations import suspects
from smtprelay.spool.operations.lane_capacity import LaneCapacity, release
from smtprelay.spool.operations.suspects import Suspect
from smtprelay.spool.tables.deliveries import COLUMNS, WIDTH, deliveries_of, first_due, marks, portions
from smtprelay.spool.tables.lane import Lane
from smtprelay.spool.tables.lanes import FULL, LaneSummary

_EDITS: Final = ", ".join(f"'{action}'" for action in ACTIONS)
_SELECT: Final = (
    f"SELECT {COLUMNS}, d.state, d.attempt, d.tries, d.deferrals, d.errors, d.uncertain,"  # noqa: S608
    " d.blocked_before, CASE WHEN d.attempt = 0 THEN 0 ELSE (SELECT count(*) FROM attempt a"
    f" WHERE a.message = d.message AND a.n = d.n AND a.outcome IN ({_EDITS})) END"
    " FROM delivery d JOIN message m ON m.id = d.message WHERE "
)
_DUE: Final = f"{_SELECT}d.lane = ? AND d.due <= ? AND d.suspect = 0 ORDER BY d.due, d.message, d.n LIMIT ?"
_NEXT_DUE: Final = "SELECT min(due) FROM delivery WHERE lane = ? AND due > ?"
_ONE: Final = f"{_SELECT}d.message = ? AND d.n = ? AND d.suspect > 0 AND d.due IS NOT NULL"

#: Lanes within a provider that are probed at once.
_MOST_PROBES: Final = 100

#: Blocked lanes whose mail is rerouted after one claim.
_MOST_LEFT: Final = 20

_TAKE: Final = """
    UPDATE delivery SET
        state = 'active', due = NULL, attempt = attempt + 1, node = ?, slot = 1, lease = ?, uncertain = 0
    WHERE n = ? AND message IN ({})"""

_RENEW: Final = """
    UPDATE delivery SET lease = ?
    WHERE n = ? AND attempt = ? AND node = ? AND state = 'active' AND message IN ({})"""


@define
class _ClaimBuilder:
    """A :class:`ClaimBatch` while it is collected."""

    claims: list[Claim] = field(factory=list)
    probes: list[tuple[str, str]] = field(factory=list)
    stopped: list[tuple[str, str]] = field(factory=list)
    suspended: list[tuple[str, str]] = field(factory=list)
    dues: list[float] = field(factory=list)
    waiting: bool = False


def claim(tx: Transaction, limit: int) -> ClaimBatch:
    """Take up to ``limit`` deliveries that may go now: :meth:`smtprelay.interfaces.spool.WorkQueue.claim`."""
    found = _ClaimBuilder()
    tx.lanes.take(tx.node.rate_limits)
    capacities = {
        provider: LaneCapacity(tx, provider, rate_limit)
        for provider, rate_limit in tx.node.rate_limits.items()
    }
    waiting = suspects.find(tx, capacities)
    exclusive = tx.node.exclusive.blocks(tx.now)
    for done, capacity in enumerate(capacities.values()):
        left = 0 if exclusive else limit - len(found.claims)
        # A share for each, so that one with a hundred thousand mails leaves something for the others.
        more = _claim_provider(tx, capacity, min(left, max(1, left // (len(capacities) - done))), found)
        summary = tx.lanes.summary(capacity.own.provider)
        until = capacity.own.blocked_until
        if until is None:
            _note_waiting(tx, capacity, summary, found, more=more)
        else:
            _note_blocked(capacity.own, until, summary, found, now=tx.now)
        if until != SUSPENDED:  # to probe one of its lanes is to ask the provider
            _note_probes(tx, capacity.own, summary, found)
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
    tx.node.exclusive.end_for(claimed.delivery.id)
    tx.lanes.take([claimed.delivery.provider])
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
            tx.execute(_RENEW.format(marks(some)), (tx.now + tx.node.lease, n, attempt, node, *some))


def recheck(tx: Transaction, provider: str) -> None:
    """Compute when the lanes of ``provider`` go on: its rate has changed."""
    tx.lanes.recheck(provider)


def _fence(claim: Claim) -> tuple[int, int, str]:
    return claim.delivery.n, claim.attempt, claim.node


def _claim_provider(tx: Transaction, capacity: LaneCapacity, limit: int, found: _ClaimBuilder) -> bool:
    """
    Take from the lanes of one provider, in rounds; in each of them all lanes get the same share.

    Returns whether more may be taken at once.
    """
    provider, left = capacity.own.provider, limit
    while capacity.room_in(capacity.own) > 0 and left > 0:
        lanes = tx.lanes.ready(provider, left)
        share = max(1, min(capacity.room_in(capacity.own), left) // max(1, len(lanes)))
        before, crowded = left, True
        for lane in lanes:
            room = capacity.room_in(lane)
            if room < 1:
                capacity.served(lane)  # it has its share: others come first
                continue
            crowded = False
            claims = _claim_lane(tx, capacity, lane, min(share, left, room))
            found.claims += claims
            left -= len(claims)
        # A lane gives something or is not due any more, unless another node is changing just that.
        if left == before and all(tx.lanes.is_ready(lane) for lane in lanes):
            return not crowded
    return capacity.room_in(capacity.own) > 0


def _note_blocked(own: Lane, until: float, summary: LaneSummary, found: _ClaimBuilder, *, now: float) -> None:
    """Note when a provider that is blocked is to be probed, and whether mail waits for it."""
    if until == SUSPENDED:
        # No probe wakes the dispatcher for what becomes due there.
        found.suspended.append(own.place)
        dues = (own.due, summary.next, own.resumes)
        found.dues += [due for due in dues if due is not None and now < due < FULL]
    elif until <= now:
        found.probes.append(own.place)
    else:
        found.dues.append(until)
    dues = (own.due, summary.first, summary.left)
    due = any(each is not None and each <= now for each in dues) or summary.last == FULL
    if due and not own.blocked_reason.startswith(ASKED_TO_WAIT):
        found.stopped.append(own.place)


def _note_probes(tx: Transaction, own: Lane, summary: LaneSummary, found: _ClaimBuilder) -> None:
    """Note which lanes within a provider are to be probed, and in which of them mail may go elsewhere."""
    if summary.probe is not None:
        probes = tx.lanes.to_probe(own.provider, _MOST_PROBES) if summary.probe <= tx.now else []
        found.probes += [(own.provider, key) for key, until in probes if until <= tx.now]
        found.dues += [until for until in [summary.probe, *(until for _, until in probes)] if until > tx.now]
    # A blocked provider's mail is rerouted out of all its lanes.
    if own.blocked_until is None and summary.left is not None and summary.left <= tx.now:
        lanes = tx.lanes.left(own.provider, _MOST_LEFT)
        for lane in lanes:
            found.stopped.append(lane.place)
            (lane.turn,) = tx.execute(_NEXT_DUE, (lane.id, tx.now)).fetchone()
        found.dues += [tx.now] if len(lanes) == _MOST_LEFT else []


def _claim_suspect(tx: Transaction, waiting: Sequence[Suspect], found: _ClaimBuilder) -> None:
    """Take one suspect if nothing else is under way, or note when that may be."""
    found.dues += [each.due for each in waiting if each.due > tx.now]
    due = [each for each in waiting if each.due <= tx.now]
    ready = [each for each in due if each.capacity.room_in(each.lane)]
    if due and not ready:
        # Another node may have the slots, and its attempts end without our hearing of it.
        opens = min(each.capacity.opens_in(each.lane) for each in due)
        found.dues.append(opens if opens > tx.now else tx.now + tx.node.lease / 2)
        found.waiting = True
    elif ready and (found.claims or not suspects.is_idle(tx)):
        found.dues.append(suspects.next_start(ready, tx.now))
        found.waiting = True
    else:
        for each in ready:
            rows = tx.execute(_ONE + tx.node.locking.free_delivery, (each.message, each.n)).fetchall()
            if rows:
                found.claims += _begin(tx, each.capacity, each.lane, rows)
                for claimed in found.claims:
                    tx.node.exclusive.begin(claimed.delivery.id, tx.now + suspects.MOST_ALONE)
                found.waiting = found.waiting or len(due) > 1
                return


def _note_waiting(
    tx: Transaction, capacity: LaneCapacity, summary: LaneSummary, found: _ClaimBuilder, *, more: bool
) -> None:
    """Note when more may be claimed: at a time, or when a slot is free, or when no suspect is attempted."""
    opens = capacity.opens_in(capacity.own)
    if summary.next is not None and summary.next < FULL:
        found.dues.append(max(summary.next, opens))
    ready = summary.first is not None and summary.first <= tx.now
    if ready and tx.node.exclusive.blocks(tx.now):
        found.dues.append(tx.node.exclusive.until)
        found.waiting = True
    elif ready and (opens > tx.now or more):
        found.dues.append(opens)
    elif ready or summary.last == FULL:
        found.waiting = True


def _claim_lane(tx: Transaction, capacity: LaneCapacity, lane: Lane, count: int) -> list[Claim]:
    """Take up to ``count`` deliveries that are due in ``lane``, and note when the next one is."""
    if count < 1:
        return []
    rows = tx.execute(_DUE + tx.node.locking.free_delivery, (lane.id, tx.now, count)).fetchall()
    claims = _begin(tx, capacity, lane, rows)
    lane.due = first_due(tx, lane)
    return claims


def _begin(tx: Transaction, capacity: LaneCapacity, lane: Lane, rows: Sequence[Sequence[Any]]) -> list[Claim]:
    """Claim the deliveries of ``rows``, which are due in ``lane``."""
    claims = []
    for delivery, row in zip(deliveries_of(tx, lane.place, rows), rows, strict=True):
        load = Load(recipients=len(delivery.envelope.recipients), bytes=delivery.size)
        if capacity.room_in(lane, load) < 1:
            capacity.wait_for(lane, load)
            break
        state, attempts, tries, deferrals, errors, uncertain, blocked_before, edits = row[WIDTH:]
        claims.append(
            Claim(
                delivery=delivery,
                node=tx.node.name,
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
        capacity.occupy(lane, load)
    _take(tx, claims)
    return claims


def _take(tx: Transaction, claims: Sequence[Claim]) -> None:
    """Write the intents."""
    messages: dict[int, list[str]] = {}
    for claim in claims:
        delivery = claim.delivery
        messages.setdefault(delivery.n, []).append(delivery.message)
        where = (delivery.message, delivery.n, claim.attempt)
        tx.insert("attempt", (*where, delivery.provider, tx.node.name, tx.now, None, "", ""))
    for n, each in messages.items():
        for some in portions(each):
            tx.execute(_TAKE.format(marks(some)), (tx.node.name, tx.now + tx.node.lease, n, *some))
