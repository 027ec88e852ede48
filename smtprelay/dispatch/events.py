"""
The events of an attempt, from its decision, for the log and the metrics.

Each carries, beside what its sentence needs, ``count`` (recipients), ``age`` (seconds since the message was
received) and ``seconds`` (how long the attempt took).
"""

from collections.abc import Mapping
from typing import Any

from smtprelay.dispatch.decision import Decision, reasons
from smtprelay.interfaces import Events
from smtprelay.model.attempt import Claim, NewMessage, Settlement
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import Delivered, Results
from smtprelay.telemetry.log_format import flattened


def about(delivery: Delivery) -> dict[str, Any]:
    """Return the fields that say which delivery it is about, and where that goes."""
    return {"message": delivery.message, "delivery": delivery.id, "provider": delivery.provider}


def tell(events: Events, claim: Claim, decision: Decision, now: float, seconds: float) -> None:
    """Say what became of ``claim``, after it has been recorded."""
    delivery, settlement = claim.delivery, decision.settlement
    common = {**about(delivery), "seconds": seconds}
    events("attempt.ended", attempt=claim.attempt, outcome=decision.outcome, **common)
    for kind, group in decision.groups.items():
        age = now - delivery.received
        fields = {**common, "age": age, "recipients": ", ".join(group), "count": len(group)}
        if kind == "delivered":
            for provider, taken in _by_provider(delivery, group).items():
                ids = dict.fromkeys(each.id for each in taken.values() if each.id)
                part = {"provider": provider, "recipients": ", ".join(taken), "count": len(taken)}
                taker = {**fields, **part}
                events("message.delivered", provider_id=", ".join(ids), **taker)
        elif kind == "uncertain":
            events("message.uncertain", reason=reasons(group), **fields)
        elif kind not in ("failed", "expired"):
            events("message.deferred", reason=reasons(group), delay=_delay(decision, now), **fields)
        elif settlement.closed.keys() >= group.keys():
            events(f"message.{kind}", reason=reasons(group), **fields)
        # What failed or expired and is held is reported by message.held.
    if not decision.groups and settlement.state != "held":  # crashed, or its provider was removed
        to = delivery.envelope.addresses
        fields = {**common, "age": now - delivery.received, "recipients": ", ".join(to), "count": len(to)}
        events("message.deferred", reason=settlement.reason, delay=_delay(decision, now), **fields)
    if settlement.state == "held" or settlement.bounce is not None or settlement.event is not None:
        tell_end(events, delivery, settlement, now, seconds)


def _by_provider(delivery: Delivery, group: Results) -> Mapping[str, Mapping[str, Delivered]]:
    """Return who was delivered to, by the provider that took the mail: it may be that of a sandbox."""
    found: dict[str, dict[str, Delivered]] = {}
    for address, outcome in group.items():
        if isinstance(outcome, Delivered):
            found.setdefault(outcome.by or delivery.provider, {})[address] = outcome
    return found


def tell_end(events: Events, delivery: Delivery, settlement: Settlement, now: float, seconds: float) -> None:
    """Say whether ``delivery`` waits for an operator, and which messages of ours tell of it."""
    if settlement.state == "held":
        age = now - delivery.received
        events("message.held", reason=settlement.reason, age=age, seconds=seconds, **about(delivery))
    if settlement.bounce is not None:
        notified(events, delivery, settlement.bounce)
    if settlement.event is not None:
        report = settlement.event.draft.id
        events("webhook.queued", message=delivery.message, delivery=delivery.id, report=report)


def notified(events: Events, delivery: Delivery, notice: NewMessage) -> None:
    """Report that the sender of ``delivery`` is notified."""
    fields = {**about(delivery), "to": ", ".join(notice.draft.envelope.addresses)}
    if notice.kind == "failure":
        events("message.bounced", bounce=notice.draft.id, **fields)
    else:
        events("dsn.queued", kind=notice.kind, notice=notice.draft.id, **fields)


def crashed(events: Events, claim: Claim, exc: Exception) -> None:
    """Report an attempt that ended in an unexpected exception, with its traceback."""
    events("attempt.crashed", attempt=claim.attempt, exc=flattened(exc), **about(claim.delivery))


def _delay(decision: Decision, now: float) -> float:
    """Return after how many seconds it goes again; in a stopped lane not before that is probed."""
    settlement = decision.settlement
    due = now if settlement.due is None else settlement.due
    if settlement.block is not None and settlement.provider in ("", settlement.block.provider):
        due = max(due, settlement.block.until)
    return max(0.0, due - now)
