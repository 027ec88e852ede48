"""
What the log and the metrics hear of an attempt: the events of one verdict.

Each carries, beside what its sentence needs, ``count`` (recipients), ``age`` (seconds since the message was
received) and ``seconds`` (how long the attempt took).
"""

from typing import Any

from smtprelay.dispatch.decision import Decision, reasons
from smtprelay.interfaces import Events
from smtprelay.model.attempt import Claim, NewMessage
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import Delivered, Results
from smtprelay.telemetry.log_format import flattened


def about(delivery: Delivery) -> dict[str, Any]:
    """Return the fields that say which delivery it is about, and where that goes."""
    return {"message": delivery.message, "delivery": delivery.id, "provider": delivery.provider}


def tell(events: Events, claim: Claim, verdict: Decision, now: float, seconds: float) -> None:
    """Say what became of ``claim``, after it has been recorded."""
    delivery = claim.delivery
    events(
        "attempt.ended",
        attempt=claim.attempt,
        outcome=verdict.outcome,
        seconds=seconds,
        **about(delivery),
    )
    fields = {**about(delivery), "age": now - delivery.received, "seconds": seconds}
    for kind, group in verdict.groups.items():
        _tell_group(
            events, verdict, kind, now, {**fields, "recipients": ", ".join(group), "count": len(group)}
        )
    settlement = verdict.settlement
    if settlement.state == "held":
        held(events, delivery, settlement.reason, now, seconds)
    elif not verdict.groups:  # crashed, or moved away from a provider that is gone
        addresses = delivery.envelope.addresses
        fields |= {"recipients": ", ".join(addresses), "count": len(addresses)}
        events("message.deferred", reason=settlement.reason, delay=_delay(verdict, now), **fields)
    ours(events, delivery, bounce=settlement.bounce, event=settlement.event)


def ours(
    events: Events, delivery: Delivery, *, bounce: NewMessage | None = None, event: NewMessage | None = None
) -> None:
    """Say which messages of ours tell of ``delivery``."""
    if bounce is not None:
        notified(events, delivery, bounce)
    if event is not None:
        events("webhook.queued", message=delivery.message, delivery=delivery.id, report=event.draft.id)


def held(events: Events, delivery: Delivery, reason: str, now: float, seconds: float) -> None:
    """Say that ``delivery`` waits for an operator."""
    age = now - delivery.received
    events("message.held", reason=reason, age=age, seconds=seconds, **about(delivery))


def notified(events: Events, delivery: Delivery, notice: NewMessage) -> None:
    """Say that the sender of ``delivery`` is told what became of it."""
    fields = {**about(delivery), "to": ", ".join(notice.draft.envelope.addresses)}
    if notice.kind == "failure":
        events("message.bounced", bounce=notice.draft.id, **fields)
    else:
        events("dsn.queued", kind=notice.kind, notice=notice.draft.id, **fields)


def lost(events: Events, claim: Claim, verdict: Decision) -> None:
    """Say that an attempt's outcome could not be recorded, for the claim was not ours any more."""
    events(
        "relay.warning",
        text=f"{claim.delivery.id}: attempt {claim.attempt} at {claim.delivery.provider} ended"
        f" ({verdict.outcome}) after its claim had been lost; nothing was recorded",
    )


def _tell_group(events: Events, verdict: Decision, kind: str, now: float, fields: dict[str, object]) -> None:
    group = verdict.groups[kind]
    if kind == "delivered":
        events("message.delivered", provider_id=_provider_ids(group), **fields)
    elif kind == "uncertain":
        events("message.uncertain", reason=reasons(group), **fields)
    elif kind in ("deferred", "blocked", "oversize", "again", "halved"):
        events("message.deferred", reason=reasons(group), delay=_delay(verdict, now), **fields)
    elif verdict.settlement.closed.keys() >= group.keys():
        events(f"message.{kind}", reason=reasons(group), **fields)
    # What failed or expired and stays open is told by message.held, when it comes to that.


def _delay(verdict: Decision, now: float) -> float:
    """After how many seconds it goes again; in a lane that was stopped not before it is probed."""
    settlement = verdict.settlement
    due = now if settlement.due is None else settlement.due
    if settlement.block is not None and not settlement.provider:
        due = max(due, settlement.block.until)
    return max(0.0, due - now)


def _provider_ids(group: Results) -> str:
    ids = {outcome.id: None for outcome in group.values() if isinstance(outcome, Delivered) and outcome.id}
    return ", ".join(ids)


def crashed(events: Events, claim: Claim, exc: Exception) -> None:
    """Tell of an attempt that ended in an exception that nobody expected, with its traceback."""
    events(
        "attempt.crashed",
        attempt=claim.attempt,
        exc=flattened(exc),
        **about(claim.delivery),
    )
