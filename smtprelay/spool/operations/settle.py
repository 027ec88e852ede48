"""
What became of an attempt, recorded once.

The node and the attempt's number fence it: an outcome that comes after the claim
went to somebody else, or after an operator deleted the delivery, changes nothing.
"""

from collections.abc import Sequence
from typing import Final

from smtprelay.model.attempt import Block, Claim, Settlement
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Outcome, Throttled, outcome_word
from smtprelay.model.queue import FINAL, SUSPENDED
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.operations import lane_throttle
from smtprelay.spool.operations.dsn_accept import enclose
from smtprelay.spool.operations.lane_capacity import release
from smtprelay.spool.operations.settle_delivered import deliver, erase_logins, finish, is_usual
from smtprelay.spool.operations.split import split
from smtprelay.spool.tables.deliveries import BOUNCED, marks, portions, storable
from smtprelay.spool.tables.lane import Lane

_SETTLE: Final = """
    UPDATE delivery SET state = ?, due = ?, ended = ?, tries = ?, errors = ?, uncertain = ?, lane = ?,
        deferrals = deferrals + ?, blocked_before = ?, reason = ?, generation = generation + ?, node = '',
        slot = 0, lease = NULL, suspect = 0
    WHERE message = ? AND n = ?"""

_BOUNCED: Final = f"UPDATE delivery SET noticed = noticed | {BOUNCED} WHERE message = ? AND n = ?"  # noqa: S608


def settle(tx: Transaction, settled: Sequence[tuple[Claim, Settlement]]) -> list[bool]:
    """Carry out each settlement; ``False``, and nothing changed, for a claim that does not hold any more."""
    tx.lanes.take({each for claim, to in settled for each in (claim.delivery.provider, to.provider) if each})
    held = _held(tx, [claim for claim, _ in settled])
    done = []
    usual: dict[int, list[tuple[Claim, Settlement]]] = {}
    for claim, settlement in settled:
        tx.node.exclusive.end_for(claim.delivery.id)
        row = held.pop((claim.delivery.id, claim.node, claim.attempt), None)
        done.append(row is not None)
        if row is None:
            continue
        number, slot, blocked_before = row
        lane = tx.lanes.by_id(number)
        lane.active -= 1
        if slot:
            release(tx, lane)
        lane_throttle.learn(tx, lane, settlement.outcomes.values(), claim)
        if is_usual(claim, settlement):
            lane.finished += 1
            usual.setdefault(claim.delivery.n, []).append((claim, settlement))
        else:
            _settle(tx, claim, settlement, lane, blocked_before)
    for n, delivered in usual.items():
        deliver(tx, n, delivered)
    return done


def _held(tx: Transaction, claims: Sequence[Claim]) -> dict[tuple[str, str, int], tuple[int, int, float]]:
    """Return lane, slot and blocked time of what is claimed, by delivery, node and attempt."""
    held = {}
    messages = list({claim.delivery.message: None for claim in claims})
    for some in portions(messages):
        rows = tx.connection.execute(
            "SELECT message, n, node, attempt, lane, slot, blocked_before FROM delivery"  # noqa: S608
            f" WHERE message IN ({marks(some)}) AND state = 'active'{tx.node.locking.row}",
            some,
        ).fetchall()
        for message, n, node, attempt, *rest in rows:
            held[f"{message}.{n}", node, attempt] = tuple(rest)
    return held


def _settle(tx: Transaction, claim: Claim, settlement: Settlement, lane: Lane, blocked_before: float) -> None:
    delivery = claim.delivery
    _record(tx, claim, settlement)
    if settlement.block is not None:
        set_block(tx, settlement.block)
    following = tx.lanes.get(settlement.provider, settlement.lane) if settlement.provider else lane
    if following is not lane:
        blocked_before += tx.lanes.blocked_time(following) - tx.lanes.blocked_time(lane)
    state = _state(tx, claim, settlement)
    due = None
    if settlement.state in ("queued", "deferred"):
        due = tx.now if settlement.due is None else settlement.due
        following.wait(settlement.state, due)
    elif state == "held":
        following.held += 1
    else:
        following.finished += 1
    tx.connection.execute(
        _SETTLE,
        (
            state,
            due,
            tx.now if state in FINAL else None,
            settlement.tries,
            settlement.errors,
            int(settlement.uncertain),
            following.id,
            int(settlement.counts),
            blocked_before,
            storable(settlement.reason),
            int(bool(settlement.split) or _ended(settlement)),
            delivery.message,
            delivery.n,
        ),
    )
    if settlement.split and due is not None:
        split(tx, claim, settlement, following)
    if state in FINAL:
        erase_logins(tx, delivery.n, [delivery])
        finish(tx, [delivery.message])
    for ours in (settlement.bounce, settlement.event):
        if ours is not None:
            enclose(tx, ours)
    if settlement.bounce is not None and settlement.bounce.kind == "failure":
        tx.execute(_BOUNCED, (delivery.message, delivery.n))


def set_block(tx: Transaction, block: Block) -> None:
    """Stop a lane, or open it again; what an operator suspended, only an operator does."""
    lane = tx.lanes.get(block.provider, block.lane)
    if lane.blocked_until == SUSPENDED and not block.operator:
        return
    if block.reason:
        lane.block(block.until, storable(block.reason), tx.now)
        lane.resumes = None if block.duration is None else tx.now + block.duration
    else:
        lane.open(tx.now, trial=block.trial)
        tx.lanes.leave(lane.provider)


def _state(tx: Transaction, claim: Claim, settlement: Settlement) -> str:
    """Return the new state; a delivery of which a recipient failed earlier did not end well, and shows it."""
    if settlement.state != "delivered" or claim.attempt == 1:
        return settlement.state
    failed = tx.connection.execute(
        "SELECT 1 FROM recipient WHERE message = ? AND n = ? AND state = 'failed' LIMIT 1",
        (claim.delivery.message, claim.delivery.n),
    ).fetchone()
    return "delivered" if failed is None else "failed"


def _ended(settlement: Settlement) -> bool:
    """
    Tell whether the provider has ended the operation for all that stays open, or never began with it.

    When that goes again the provider must see a new operation, for it knows how the old one ended.
    """
    still_open = [
        outcome for address, outcome in settlement.outcomes.items() if address not in settlement.closed
    ]
    return bool(still_open) and all(
        isinstance(outcome, Failed)
        or (isinstance(outcome, Deferred | Throttled | Blocked) and outcome.closed)
        or (isinstance(outcome, Deferred) and outcome.again)
        for outcome in still_open
    )


def _record(tx: Transaction, claim: Claim, settlement: Settlement) -> None:
    """Write the attempt's outcome and that of each recipient."""
    delivery = claim.delivery
    where = (delivery.message, delivery.n)
    names = dict.fromkeys(map(outcome_word, settlement.outcomes.values()))
    tx.connection.execute(
        "UPDATE attempt SET ended = ?, outcome = ?, reason = ? WHERE message = ? AND n = ? AND number = ?",
        (tx.now, "+".join(names) or settlement.state, storable(settlement.reason), *where, claim.attempt),
    )
    rows = {address: _recipient_row(settlement, address) for address in delivery.envelope.addresses}
    if len(set(rows.values())) == 1:
        row = next(iter(rows.values()))
        tx.connection.execute(
            "UPDATE recipient SET state = ?, reason = ?, provider_id = ?"
            " WHERE message = ? AND n = ? AND state = 'open'",
            (*row, *where),
        )
        return
    for address, row in rows.items():
        tx.connection.execute(
            "UPDATE recipient SET state = ?, reason = ?, provider_id = ?"
            " WHERE message = ? AND n = ? AND address = ? AND state = 'open'",
            (*row, *where, address),
        )


def _recipient_row(settlement: Settlement, address: str) -> tuple[str, str, str]:
    """Return a recipient's state, reason and provider id."""
    outcome: Outcome | None = settlement.outcomes.get(address)
    state = settlement.closed.get(address, "open")
    if outcome is None:
        return state, storable(settlement.reason), ""
    return state, storable(outcome.why), storable(outcome.id) if isinstance(outcome, Delivered) else ""
