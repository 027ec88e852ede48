"""
Operator actions that need more than the spool: the providers, or reports to senders.

The spool changes the queue; this prepares the changes: the lane of a rerouted delivery, the bounce of a
deleted one. An operator probes, suspends and resumes providers here, too.
"""

from typing import Final

from attrs import define, evolve

from smtprelay.dispatch.context import DispatchContext
from smtprelay.dispatch.dispatcher import Dispatcher
from smtprelay.dispatch.dsn.reporter import DsnReporter
from smtprelay.dispatch.failover import fits
from smtprelay.dispatch.reachability_watch import ReachabilityWatch
from smtprelay.model.attempt import Block, Claim, NewMessage
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import Failed
from smtprelay.model.queue import ASKED_TO_WAIT, SUSPENDED, Edit, LaneState
from smtprelay.model.queue_admin import LONGEST, Prepared

#: Other or undefined security or policy status (RFC 3463 §3.8).
_REMOVED: Final = "5.7.0"


@define(eq=False)
class OperatorActions:
    """
    Implements :class:`smtprelay.interfaces.Operator`.

    :param dispatcher: notified of changes; ``None`` while no relay runs, as ``watch``.
    :param watch: probes providers that cannot be reached.
    """

    _context: DispatchContext
    _reporter: DsnReporter
    _dispatcher: Dispatcher | None = None
    _watch: ReachabilityWatch | None = None

    async def __call__(self, delivery: Delivery, edit: Edit) -> Prepared:
        """Return what this edit needs: the new place for a reroute, the bounce for a delete."""
        if edit.action == "reroute":
            return self._rerouted(delivery, edit.provider)
        if edit.action == "delete" and edit.bounce:
            return Prepared(bounce=await self._bounce(delivery, edit))
        return Prepared()

    def check(self, provider: str) -> None:
        if provider not in self._context.providers:
            raise LookupError(
                f"there is no provider {provider!r}: expected {' or '.join(self._context.providers)}"
            )

    async def probe(self, provider: str, lane: str, who: str, *, force: bool = False) -> None:
        state = await self._lane(provider, lane)
        if (await self._lane(provider, "")).suspended:
            raise ValueError(f"{provider} is suspended: resume it")
        if state.state == "unreachable":
            if self._watch is not None:
                self._watch.probe_soon(provider)
            self._tell(provider, lane, "probe", who, "unreachable")
            return
        name = f"{provider} {lane}".rstrip()
        if state.blocked_until is None:
            raise ValueError(f"{name} is not blocked")
        if state.blocked_reason.startswith(ASKED_TO_WAIT) and not force:
            raise ValueError(f"{name} {state.blocked_reason} (--force tries it all the same)")
        now = self._context.clock.seconds()
        block = Block(provider=provider, lane=lane, until=now, reason=state.blocked_reason)
        await self._change(block, "probe", who, state.blocked_reason)

    async def suspend(self, provider: str, who: str, why: str, duration: float | None = None) -> None:
        self.check(provider)
        if duration is not None and not 0 < duration <= LONGEST:
            raise ValueError("a provider is suspended for more than no time and less than a hundred years")
        reason = f"suspended by {who}" + (f": {why}" if why else "")
        block = Block(provider=provider, until=SUSPENDED, reason=reason, operator=True, duration=duration)
        await self._change(block, "suspend", who, why)

    async def resume(self, provider: str, who: str) -> None:
        state = await self._lane(provider, "")
        if not state.suspended:
            raise ValueError(f"{provider} is not suspended")
        await self._change(Block(provider=provider, operator=True), "resume", who, state.blocked_reason)

    def hold_rules_changed(self) -> None:
        if self._dispatcher is not None:
            self._dispatcher.hold_rules.wake()

    async def _lane(self, provider: str, lane: str) -> LaneState:
        self.check(provider)
        for each in await self._context.spool.admin.lanes(provider):
            if each.lane == lane:
                return each
        raise LookupError(f"{provider} has no lane {lane!r}" if lane else f"{provider} has had no mail yet")

    async def _change(self, block: Block, action: str, who: str, why: str) -> None:
        await self._context.spool.admin.block(block)
        self._tell(block.provider, block.lane, action, who, why)
        if self._dispatcher is not None:
            self._dispatcher.lanes_changed()

    def _tell(self, provider: str, lane: str, action: str, who: str, why: str) -> None:
        self._context.events("lane.changed", provider=provider, lane=lane, action=action, who=who, why=why)

    def _rerouted(self, delivery: Delivery, name: str) -> Prepared:
        self.check(name)
        provider = self._context.providers[name]
        if delivery.provider == name:
            return Prepared(refusal=f"goes to {name} already")
        if provider.uses_login and not delivery.application:
            return Prepared(refusal=f"{name} sends with the login of the client, which had none")
        if fits(delivery, provider) is False:
            return Prepared(refusal=f"beyond the limits of {name}")
        return Prepared(lane=provider.lane(delivery.envelope, delivery.author, delivery.lane_login))

    async def _bounce(self, delivery: Delivery, edit: Edit) -> NewMessage | None:
        why = edit.why or "no reason was given"
        report = {address: Failed(why, _REMOVED) for address in delivery.envelope.addresses}
        # Only the operator wants this.
        claim = Claim(delivery=evolve(delivery, provider="the operator"), node="", attempt=0)
        body, now = self._context.spool.admin.body(delivery), self._context.clock.seconds()
        return await self._reporter.bounce(claim, report, body, now)
