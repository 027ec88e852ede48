"""
Taking what is due, and keeping or returning what was taken.

``claim`` goes round the lanes of each provider in which something is due, the
longest unserved first, and takes one delivery from each in turn: a lane with a
hundred thousand mails and a lane with one get the same share, and each turn costs the
same whatever waits behind it.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from smtprelay.interfaces import Work
from smtprelay.message import Claim, Delivery, Envelope, Pace, Recipient
from smtprelay.spool.connection import Transaction
from smtprelay.spool.lanes import Lane
from smtprelay.spool.slots import Gate, release

_DUE: Final = """
    SELECT d.message, d.n, d.generation, d.route, d.state, d.attempt, d.tries, d.errors, d.uncertain,
           d.blocked_before,
           m.sender, m.parameters, m.received, m.size, m.bounce_of
    FROM delivery d JOIN message m ON m.id = d.message
    WHERE d.lane = ? AND d.due <= ? ORDER BY d.due LIMIT 1"""

_TAKE: Final = """
    UPDATE delivery SET
        state = 'active', due = NULL, attempt = ?, node = ?, slot = 1, lease = ?, uncertain = 0
    WHERE message = ? AND n = ?"""


def claim(tx: Transaction, limit: int) -> Work:
    """Take up to ``limit`` deliveries that may go now; see :meth:`smtprelay.interfaces.Spool.claim`."""
    claims: list[Claim] = []
    probes: list[tuple[str, str]] = []
    dues: list[float] = []
    for provider, pace in tx.paces.items():
        for lane in tx.lanes.blocked(provider):
            assert lane.blocked_until is not None
            if lane.blocked_until <= tx.now:
                probes.append((provider, lane.key))
            else:
                dues.append(lane.blocked_until)
        claims += _claim_provider(tx, provider, pace, limit - len(claims), dues)
    if len(claims) >= limit:
        dues.append(tx.now)
    return Work(claims=claims, probes=probes, due=min(dues, default=None))


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


def _claim_provider(tx: Transaction, provider: str, pace: Pace, limit: int, dues: list[float]) -> list[Claim]:
    """Take from the lanes of one provider; add to ``dues`` when more may be taken."""
    claims: list[Claim] = []
    gate = Gate(tx, provider, pace)
    while gate.room > 0 and len(claims) < limit:
        round_of = [lane for lane in tx.lanes.ready(provider, limit) if gate.lets(lane)]
        got = len(claims)
        for lane in round_of:
            if len(claims) < limit and gate.lets(lane):
                claimed = _claim_next(tx, gate, lane)
                if claimed is not None:
                    claims.append(claimed)
        if len(claims) == got:
            break
    if gate.own.blocked_until is None:
        _note_due(tx, provider, gate, dues)
    return claims


def _note_due(tx: Transaction, provider: str, gate: Gate, dues: list[float]) -> None:
    later = tx.lanes.next_due(provider)
    if later is not None:
        dues.append(later if gate.when is None else max(later, gate.when))
    if gate.room < 1 and gate.when is not None and tx.lanes.ready(provider, 1):
        dues.append(gate.when)


def _claim_next(tx: Transaction, gate: Gate, lane: Lane) -> Claim | None:
    """Take the first delivery that is due in ``lane``, and note when the next one is."""
    row = tx.execute(_DUE, (lane.id, tx.now)).fetchone()
    claimed = None
    if row is not None:
        message, n, state, attempt = row[0], row[1], row[4], row[5] + 1
        setattr(lane, state, getattr(lane, state) - 1)
        gate.occupy(lane)
        tx.execute(_TAKE, (attempt, tx.node, tx.now + tx.lease, message, n))
        tx.insert("attempt", (message, n, attempt, lane.provider, tx.node, tx.now, None, "", ""))
        claimed = _claimed(tx, lane, row)
    lane.due = tx.execute(
        "SELECT min(due) FROM delivery WHERE lane = ? AND due IS NOT NULL", (lane.id,)
    ).fetchone()[0]
    return claimed


def _claimed(tx: Transaction, lane: Lane, row: Sequence[Any]) -> Claim:
    (message, n, generation, route, _, attempt, tries, errors, uncertain, blocked_before, *rest) = row
    sender, parameters, received, size, bounce_of = rest
    recipients = tx.execute(
        "SELECT address, notify, orcpt FROM recipient WHERE message = ? AND n = ? AND state = 'open'"
        " ORDER BY position",
        (message, n),
    ).fetchall()
    envelope = Envelope(
        sender=sender,
        recipients=tuple(
            Recipient(address=address, notify=notify, orcpt=orcpt) for address, notify, orcpt in recipients
        ),
        parameters=json.loads(parameters),
    )
    delivery = Delivery(
        message=message,
        n=n,
        generation=generation,
        route=route,
        provider=lane.provider,
        lane=lane.key,
        envelope=envelope,
        size=size,
        received=received,
        bounce_of=bounce_of,
    )
    age = tx.now - received - (lane.blocked_time(tx.now) - blocked_before)
    return Claim(
        delivery=delivery,
        node=tx.node,
        attempt=attempt + 1,
        tries=tries,
        age=age,
        uncertain=bool(uncertain),
        errors=errors,
    )
