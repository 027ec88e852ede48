"""
A message comes in of which an attempt was made already.

A synchronous listener has tried it; some of its recipients have it. What is left continues as if the spool
had made that attempt: it is in the history, and is not made again.
"""

from smtprelay.model.attempt import Claim, Settlement
from smtprelay.model.message import Delivery, Planned
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.operations.accept import Arrival, accept, begin
from smtprelay.spool.operations.edit import edit
from smtprelay.spool.operations.settle import settle
from smtprelay.spool.tables.hold_rules import hold_change


def adopt(tx: Transaction, arrival: Arrival, settlement: Settlement) -> list[Claim]:
    """
    Make a message ours, with one delivery and the attempt that ended as ``settlement`` says; claim nothing.

    A rule that holds mail holds what is left of it.

    :raises SpoolFault: for the reasons of :func:`smtprelay.spool.operations.accept.accept`; the same for
        ``ValueError``.
    """
    accept(tx, arrival, claiming=False, may_hold=False)
    draft, planned = arrival.draft, arrival.planned[0]
    lane = tx.lanes.get(planned.provider, planned.lane)
    lane.queued, lane.active = lane.queued - 1, lane.active + 1
    claim = begin(tx, arrival, 1, planned, draft.received)
    tx.execute(
        "UPDATE delivery SET state = 'active', due = NULL, attempt = 1, node = ?, lease = ?"
        " WHERE message = ? AND n = 1",
        (tx.node.name, tx.now + tx.node.lease, draft.id),
    )
    settle(tx, [(claim, settlement)])
    if settlement.state in ("queued", "deferred"):
        _apply_hold_rules(tx, claim.delivery, settlement)
    return []


def _apply_hold_rules(tx: Transaction, delivery: Delivery, settlement: Settlement) -> None:
    """Hold what waits now, if a rule says so."""
    recipients = delivery.envelope.recipients
    planned = Planned(
        route=delivery.route,
        provider=settlement.provider or delivery.provider,
        lane=settlement.lane,
        recipients=tuple(each for each in recipients if each.address not in settlement.closed),
    )
    rule = tx.hold_rules.match(delivery.envelope.sender, planned, tx.now)
    if rule is not None:
        _, change = hold_change(rule)
        edit(tx, {(delivery.message, delivery.n): 1}, change, {})
