"""
An operator's hand on what the spool alone cannot know: providers, their lanes, and who is written to.

The spool carries out the changes; here each of them is prepared: the lane that a rerouted mail goes in,
and the bounce of one that is deleted. What stops or opens a lane by hand is here, too.
"""

from collections.abc import Callable, Mapping
from typing import Final

from attrs import define, evolve, field

from smtprelay.dispatch.dsn.reporter import DsnReporter
from smtprelay.dispatch.failover import fits
from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.interfaces import Events, Provider
from smtprelay.interfaces.spool import QueueAdmin
from smtprelay.model.attempt import Block, Claim, NewMessage
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import Failed
from smtprelay.model.queue import ASKED_TO_WAIT, SUSPENDED, Edit, LaneState
from smtprelay.model.queue_admin import LONGEST, Prepared

#: Other or undefined security or policy status (RFC 3463 §3.8).
_REMOVED: Final = "5.7.0"

_NOTHING: Final = Prepared()


@define(eq=False)
class OperatorActions:
    """
    See :class:`smtprelay.interfaces.Operator`.

    :param lanes: what this process knows of stopped lanes.
    :param seconds: gives the time, since the epoch.
    :param wake: has the spool asked for what may go now.
    :param holds_changed: see there.
    :param probe_unreachable: has a provider probed soon that cannot be reached.
    """

    _spool: QueueAdmin
    _providers: Mapping[str, Provider]
    _reporter: DsnReporter
    _lanes: LaneStates
    _seconds: Callable[[], float] = field(kw_only=True)
    _events: Events = field(kw_only=True)
    _wake: Callable[[], None] = field(kw_only=True)
    holds_changed: Callable[[], None] = field(default=lambda: None, kw_only=True)
    _probe_unreachable: Callable[[str], None] = field(default=lambda _provider: None, kw_only=True)

    async def __call__(self, delivery: Delivery, edit: Edit) -> Prepared:
        """Return what this edit needs: the new place for a reroute, the bounce for a delete."""
        if edit.action == "reroute":
            return self._rerouted(delivery, edit.provider)
        if edit.action == "delete" and edit.bounce:
            return Prepared(bounce=await self._bounce(delivery, edit))
        return _NOTHING

    def check(self, provider: str) -> None:
        """Raise ``LookupError`` for a provider that is not there."""
        self._configured(provider)

    async def probe(self, provider: str, lane: str, who: str, *, force: bool = False) -> None:
        """
        Try a blocked lane, or a provider that cannot be reached, now.

        :raises LookupError: there is no such provider.
        :raises ValueError: it is suspended, not blocked, or asked us to wait and ``force`` is not given.
        """
        state = await self._lane(provider, lane)
        name = f"{provider} {lane}".rstrip()
        if (await self._lane(provider, "")).suspended:
            raise ValueError(f"{provider} is suspended: resume it")
        if state.state == "unreachable":
            self._probe_unreachable(provider)
            self._tell(provider, lane, "probe", who, "unreachable")
            return
        if state.blocked_until is None:
            raise ValueError(f"{name} is not blocked")
        if state.blocked_reason.startswith(ASKED_TO_WAIT) and not force:
            raise ValueError(f"{name} {state.blocked_reason} (--force tries it all the same)")
        block = Block(provider=provider, lane=lane, until=self._seconds(), reason=state.blocked_reason)
        await self._change(block, "probe", who, state.blocked_reason)

    async def suspend(self, provider: str, who: str, why: str, lasting: float | None = None) -> None:
        """Send nothing to ``provider`` until it is resumed; its mail goes on elsewhere or waits."""
        self._configured(provider)
        if lasting is not None and not 0 < lasting <= LONGEST:
            raise ValueError("a provider is suspended for more than no time and less than a hundred years")
        reason = f"suspended by {who}" + (f": {why}" if why else "")
        block = Block(provider=provider, until=SUSPENDED, reason=reason, operator=True, lasting=lasting)
        await self._change(block, "suspend", who, why)

    async def resume(self, provider: str, who: str) -> None:
        """Let a provider that was suspended run again."""
        state = await self._lane(provider, "")
        if not state.suspended:
            raise ValueError(f"{provider} is not suspended")
        await self._change(Block(provider=provider, operator=True), "resume", who, state.blocked_reason)

    def _configured(self, name: str) -> Provider:
        provider = self._providers.get(name)
        if provider is None:
            raise LookupError(f"there is no provider {name!r}: {', '.join(self._providers)}")
        return provider

    async def _lane(self, provider: str, lane: str) -> LaneState:
        self._configured(provider)
        for each in (await self._spool.stock()).lanes:
            if (each.provider, each.lane) == (provider, lane):
                return each
        raise LookupError(f"{provider} has no lane {lane!r}" if lane else f"{provider} has had no mail yet")

    async def _change(self, block: Block, action: str, who: str, why: str) -> None:
        await self._spool.block(block)
        self._tell(block.provider, block.lane, action, who, why)
        self._wake()

    def _tell(self, provider: str, lane: str, action: str, who: str, why: str) -> None:
        self._events("lane.changed", provider=provider, lane=lane, action=action, who=who, why=why)

    def _rerouted(self, delivery: Delivery, name: str) -> Prepared:
        provider = self._configured(name)
        if delivery.provider == name:
            return Prepared(refusal=f"goes to {name} already")
        if fits(delivery, provider) is False:
            return Prepared(refusal=f"beyond the limits of {name}")
        return Prepared(lane=provider.lane(delivery.envelope))

    async def _bounce(self, delivery: Delivery, edit: Edit) -> NewMessage | None:
        why = edit.why or "no reason was given"
        report = {address: Failed(why, _REMOVED) for address in delivery.envelope.addresses}
        # Nobody but the operator said so.
        told = Claim(delivery=evolve(delivery, provider="the operator"), node="", attempt=0)
        return await self._reporter.bounce(told, report, self._spool.body(delivery), self._seconds())
