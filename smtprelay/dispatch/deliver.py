"""The request of an attempt: to send the mail, or to find out what became of an attempt before it."""

from collections.abc import Callable

from smtprelay.dispatch.attempt import AttemptEnd, PreparedAttempt
from smtprelay.dispatch.context import DispatchContext
from smtprelay.dispatch.events import about
from smtprelay.dispatch.failover import too_large
from smtprelay.interfaces import Attempt, Provider
from smtprelay.interfaces.spool import LoginMissingError
from smtprelay.model.message import Delivery, SessionLogin
from smtprelay.model.outcome import Results


async def deliver(
    context: DispatchContext, attempt: PreparedAttempt, release_slot: Callable[[], None]
) -> AttemptEnd:
    """
    Make the one request of an attempt; nothing is raised.

    A mail is only sent to a provider whose limits it fits: they may have changed while it waited.

    :param release_slot: that of :class:`smtprelay.interfaces.Attempt`.
    """
    claim, provider, body = attempt.claim, attempt.provider, attempt.body
    delivery = claim.delivery
    context.events("attempt.started", attempt=claim.attempt, **about(delivery))
    if provider is None:
        return AttemptEnd(results=None)
    results: Results | None = None
    try:
        if claim.uncertain:
            results = await provider.resolve(delivery)
            if results is None and not provider.idempotent and attempt.route.on_uncertain == "hold":
                return AttemptEnd(results=None, resolved=True)
        resolved = results is not None
        if results is None:
            refusal = too_large(delivery, provider)
            if refusal is None:
                login = await _login(context, provider, delivery)
                results = await provider.deliver(Attempt(delivery, body, release_slot, login))
            else:
                results = dict.fromkeys(delivery.envelope.addresses, refusal)
        if body.fault is not None:
            return AttemptEnd(results=results, fault=body.fault)
        block = context.lanes.learn(delivery, results.values(), context.clock.seconds())
    except LoginMissingError as missing:
        return AttemptEnd(fault=missing)
    except Exception as exc:  # noqa: BLE001 -- whatever a provider's code raises
        return AttemptEnd(fault=body.fault, error=exc)
    return AttemptEnd(results=results, resolved=resolved, block=block)


async def _login(context: DispatchContext, provider: Provider, delivery: Delivery) -> SessionLogin | None:
    """Return the login of the client for a provider that sends with it."""
    if not provider.uses_login:
        return None
    return delivery.credential or await context.spool.login(delivery)
