"""
Tells whether a stopped lane works again.

A blocked lane costs its provider one question at growing intervals, not one for each mail that waits.
"""

from twisted.internet.defer import CancelledError

from smtprelay.dispatch.context import DispatchContext
from smtprelay.interfaces import Events, Provider
from smtprelay.model.attempt import Block
from smtprelay.model.outcome import Blocked, Delivered, Outcome


async def ask(provider: Provider | None, name: str, lane: str, events: Events) -> Outcome | None:
    """Probe a lane. A probe that breaks proves nothing good: the lane is blocked."""
    if provider is None:
        return Blocked("the configuration has no such provider any more")
    try:
        return await provider.probe(lane)
    except CancelledError:
        raise
    except Exception as exc:  # noqa: BLE001 -- whatever a provider's code raises
        problem = f"{type(exc).__name__}: {exc}"
        events("relay.warning", text=f"{name} {lane}".rstrip() + f": probe: unexpected error: {problem}")
        return Blocked(problem)


async def probe_lane(context: DispatchContext, provider: str, lane: str) -> None:
    """Open a stopped lane, let one mail try it, or stop it for longer; it raises as the spool does."""
    lanes, spool = context.lanes, context.spool
    if lanes.end_pause(provider, lane):
        await spool.block(Block(provider=provider, lane=lane))
        return
    outcome = await ask(context.providers.get(provider), provider, lane, context.events)
    now = context.clock.seconds()
    # Mail of a mailbox that is gone expires, and that is judged when it has been tried.
    if outcome is None or (lane and isinstance(outcome, Blocked)):
        await spool.block(lanes.try_one(provider, lane, now))
    elif isinstance(outcome, Delivered):
        await spool.block(Block(provider=provider, lane=lane))
        lanes.opened(provider, lane)
    else:
        await spool.block(lanes.block(provider, lane, outcome.why, now, probed=True))
