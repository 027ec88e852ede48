"""The end of an attempt: its settlement in the spool, and its events."""

from typing import Final

from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from smtprelay.dispatch import events as delivery_events
from smtprelay.dispatch.attempt import PreparedAttempt
from smtprelay.dispatch.context import DispatchContext
from smtprelay.dispatch.decision import Decision, in_a_line
from smtprelay.dispatch.retry import SPOOL_AGAIN, delay

_MIDDLE: Final = 0.5


async def record(context: DispatchContext, attempt: PreparedAttempt, decision: Decision) -> bool:
    """
    Record the settlement; retry while the spool fails, because without it the mail would be sent again.

    ``False``: the claim was not ours any more, and nothing but the block of its lane was recorded.
    """
    claim, settlement, failures = attempt.claim, decision.settlement, 0
    if decision.error is not None:
        delivery_events.crashed(context.events, claim, decision.error)
    while True:
        try:
            ours = await context.spool.settle(claim, settlement)
            if not ours and settlement.block is not None:
                await context.spool.block(settlement.block)
            break
        except CancelledError:
            raise
        except Exception as exc:  # noqa: BLE001 -- whatever the database raises
            context.events("spool.failed", operation="settle", reason=in_a_line(exc))
        await deferLater(context.clock, delay(SPOOL_AGAIN, failures, _MIDDLE))
        failures += 1
    now = context.clock.seconds()
    if ours:
        delivery_events.tell(context.events, claim, decision, now, now - attempt.begun)
    else:
        what = f"attempt {claim.attempt} at {claim.delivery.provider} ended ({decision.outcome})"
        text = f"{claim.delivery.id}: {what} after its claim had been lost; nothing was recorded"
        context.events("relay.warning", text=text)
    return ours
