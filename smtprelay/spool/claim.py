"""
Taking what is due, and keeping or returning what was taken.

``claim`` goes round the lanes of each provider in which something is due, the
longest unserved first, and takes one delivery from each in turn: a lane with a
hundred thousand mails and a lane with one get the same share, and each turn costs the
same whatever waits behind it. What it cannot take it accounts for: it waits for a
time, for a slot, or for a lane to be opened.
"""

from collections.abc import Sequence
from typing import Final

from attrs import define, field

from smtprelay.interfaces import Work
from smtprelay.message import Claim
from smtprelay.spool.connection import Transaction
from smtprelay.spool.lanes import Lane
from smtprelay.spool.slots import Gate, release
from smtprelay.spool.stored import COLUMNS, delivery_of, first_due

_DUE: Final = f"""
    SELECT {COLUMNS}, d.state, d.attempt, d.tries, d.errors, d.uncertain, d.blocked_before
    FROM delivery d JOIN message m ON m.id = d.message
    WHERE d.lane = ? AND d.due <= ? ORDER BY d.due, d.message, d.n LIMIT 1"""  # noqa: S608 -- constants

_TAKE: Final = """
    UPDATE delivery SET
        state = 'active', due = NULL, attempt = ?, node = ?, slot = 1, lease = ?, uncertain = 0
    WHERE message = ? AND n = ?"""


@define
class _Found:
    """What becomes a :class:`Work`."""

    claims: list[Claim] = field(factory=list)
    probes: list[tuple[str, str]] = field(factory=list)
    stopped: list[tuple[str, str]] = field(factory=list)
    dues: list[float] = field(factory=list)
    waiting: bool = False


def claim(tx: Transaction, limit: int) -> Work:
    """Take up to ``limit`` deliveries that may go now; see :meth:`smtprelay.interfaces.Spool.claim`."""
    found = _Found()
    for done, (provider, pace) in enumerate(tx.paces.items()):
        gate = Gate(tx, provider, pace)
        left = limit - len(found.claims)
        # A share for each, so that one with a hundred thousand mails leaves something for the others.
        _claim_provider(tx, gate, min(left, max(1, left // (len(tx.paces) - done))), found)
        _note_blocked(tx, gate, found)
        if gate.own.blocked_until is None:
            _note_waiting(tx, gate, found)
    return Work(
        claims=found.claims,
        probes=found.probes,
        stopped=found.stopped,
        waiting=found.waiting,
        due=min(found.dues, default=None),
    )


def taken(tx: Transaction, claimed: Claim) -> None:
    """Release the slot of a claim whose body the provider has."""
    row = tx.execute(
        "UPDATE delivery SET slot = 0 WHERE message = ? AND n = ? AND state = 'active' AND node = ?"
        " AND attempt = ? AND slot = 1 RETURNING lane",
        (claimed.delivery.message, claimed.delivery.n, claimed.node, claimed.attempt),
    ).fetchone()
    if row is not None:
        release(tx, tx.lanes.by_id(row[0]))


def renew(tx: Transaction, claims: Sequence[Claim]) -> None:
    """Let the leases of ``claims`` begin anew."""
    for each in claims:
        tx.execute(
            "UPDATE delivery SET lease = ? WHERE message = ? AND n = ? AND state = 'active' AND node = ?"
            " AND attempt = ?",
            (tx.now + tx.lease, each.delivery.message, each.delivery.n, each.node, each.attempt),
        )


def recover(tx: Transaction) -> int:
    """Put back what this node had claimed when it died; return how many deliveries."""
    rows = tx.execute(
        "SELECT message, n, attempt, lane, slot FROM delivery WHERE ended IS NULL AND state = 'active'"
        " AND node = ?",
        (tx.node,),
    ).fetchall()
    for message, n, attempt, number, slot in rows:
        lane = tx.lanes.by_id(number)
        lane.active -= 1
        if slot:
            release(tx, lane)
        lane.wait("queued", tx.now)
        tx.execute(
            "UPDATE delivery SET state = 'queued', due = ?, uncertain = 1, node = '', slot = 0, lease = NULL,"
            " reason = ? WHERE message = ? AND n = ?",
            (tx.now, _LOST, message, n),
        )
        tx.execute(
            "UPDATE attempt SET ended = ?, outcome = 'uncertain', reason = ?"
            " WHERE message = ? AND n = ? AND number = ?",
            (tx.now, _LOST, message, n, attempt),
        )
    for (message,) in tx.execute("SELECT message FROM upload WHERE node = ?", (tx.node,)).fetchall():
        tx.execute("DELETE FROM chunk WHERE message = ?", (message,))
    tx.execute("DELETE FROM upload WHERE node = ?", (tx.node,))
    return len(rows)


_LOST: Final = "the relay stopped while this attempt was under way"


def _claim_provider(tx: Transaction, gate: Gate, limit: int, found: _Found) -> None:
    """Take from the lanes of one provider, in rounds."""
    provider, left = gate.own.provider, limit
    while gate.room > 0 and left > 0:
        lanes = tx.lanes.ready(provider, gate.per_lane, left)
        if not lanes:
            break
        # Each lane gives a delivery or, if nothing is due in it after all, is not ready any more.
        for lane in lanes:
            claimed = _claim_next(tx, gate, lane) if gate.room > 0 else None
            if claimed is not None:
                found.claims.append(claimed)
                left -= 1


def _note_blocked(tx: Transaction, gate: Gate, found: _Found) -> None:
    """Note which lanes are to be probed, now or later, and in which of them mail waits."""
    for lane in tx.lanes.blocked(gate.own.provider):
        place = (lane.provider, lane.key)
        assert lane.blocked_until is not None
        if lane.blocked_until <= tx.now:
            found.probes.append(place)
        else:
            found.dues.append(lane.blocked_until)
        if lane is gate.own:
            held_up = tx.lanes.is_due(lane.provider, blocked=True)
        else:
            held_up = lane.due is not None and lane.due <= tx.now
        if held_up:
            found.stopped.append(place)


def _note_waiting(tx: Transaction, gate: Gate, found: _Found) -> None:
    """Note when more may be taken: at a time, or as soon as there is a slot."""
    provider, opens = gate.own.provider, gate.opens()
    later = tx.lanes.next_due(provider)
    if later is not None:
        found.dues.append(max(later, opens))
    if not tx.lanes.is_due(provider):
        return
    if opens > tx.now or (gate.room > 0 and tx.lanes.ready(provider, gate.per_lane, 1)):
        found.dues.append(opens)
    else:
        found.waiting = True


def _claim_next(tx: Transaction, gate: Gate, lane: Lane) -> Claim | None:
    """Take the first delivery that is due in ``lane``, and note when the next one is."""
    row = tx.execute(_DUE, (lane.id, tx.now)).fetchone()
    claimed = None
    if row is not None:
        delivery = delivery_of(tx, lane, row)
        state, attempts, tries, errors, uncertain, blocked_before = row[9:]
        claimed = Claim(
            delivery=delivery,
            node=tx.node,
            attempt=attempts + 1,
            tries=tries,
            age=tx.now - delivery.received - (tx.lanes.blocked_time(lane) - blocked_before),
            uncertain=bool(uncertain),
            errors=errors,
        )
        setattr(lane, state, getattr(lane, state) - 1)
        gate.occupy(lane)
        where = (delivery.message, delivery.n)
        tx.execute(_TAKE, (claimed.attempt, tx.node, tx.now + tx.lease, *where))
        tx.insert("attempt", (*where, claimed.attempt, lane.provider, tx.node, tx.now, None, "", ""))
    lane.due = first_due(tx, lane)
    return claimed
