"""
Reports providers that cannot be reached, or take no mail.

It reads what their connections tell (:mod:`smtprelay.net.reachability`), and probes after a failure: so it
reports as soon with one mail in the queue as with many, and sees that a provider works again before its mail
is due, also after a restart.
"""

from collections.abc import Mapping
from typing import Any, Final

from attrs import Factory, define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.probe import ask
from smtprelay.interfaces import Events, Provider
from smtprelay.interfaces.spool import QueueAdmin
from smtprelay.model.outcome import Blocked
from smtprelay.model.queue import TAKES_NO_MAIL, Unreachable
from smtprelay.net.reachability import Reachability

#: How often to check, seconds.
CHECK_EVERY: Final = 1.0

#: How long after a failure a provider is probed, and how often then until it is reached, seconds.
_FIRST_PROBE: Final = 5.0
_NEXT_PROBE: Final = 15.0


@define(eq=False)
class ReachabilityWatch:
    """
    Tells ``provider.failing`` and ``provider.recovered``, each once for all nodes of the spool.

    A provider that an operator has suspended is not probed or reported; one that answers a probe by refusing
    us is blocked.

    :param reachabilities: by the name of the provider.
    """

    _reachabilities: Mapping[str, Reachability]
    _providers: Mapping[str, Provider]
    _clock: IReactorTime
    _events: Events
    _spool: QueueAdmin = field(kw_only=True)
    _lanes: LaneStates = field(kw_only=True)
    _reported: dict[str, Unreachable] = field(factory=dict, init=False)
    #: To be probed once; and not reached since the start, or since a suspension.
    _unprobed: set[str] = field(factory=set, init=False)
    #: Providers that are configured no more, whose alarms end.
    _gone: set[str] = field(factory=set, init=False)
    _unproven: set[str] = field(
        default=Factory(lambda self: set(self._reachabilities), takes_self=True), init=False
    )
    _next_probe: dict[str, float] = field(factory=dict, init=False)
    _probes: dict[str, Deferred[Any]] = field(factory=dict, init=False)

    async def check_providers(self) -> None:
        """Check every provider; to be called about once a second. It raises as the spool does."""
        for name in tuple(self._gone):
            await self._spool.note_reachability(name, None)
            self._gone.discard(name)
        for name, reachability in self._reachabilities.items():
            suspended = self._lanes.is_suspended(name)
            if suspended:
                reachability.forget()
                self._unproven.add(name)
            if suspended or reachability.failure is not None:
                self._lanes.deferrals.forget(name)
            now = self._clock.seconds()
            trouble = reachability.trouble() or self._lanes.deferrals.alarm(name, now)
            asked_just_now = name in self._probes and now < self._next_probe.get(name, 0.0)
            if trouble is None and not suspended and asked_just_now:
                continue  # its mail continues when it is known whether the provider takes any
            proven = name in self._unproven and reachability.has_answered
            if trouble != self._reported.get(name) or proven:
                first_or_last = await self._spool.note_reachability(name, trouble)
                self._change(name, trouble, aloud=first_or_last and not suspended)
            if proven:
                self._unproven.discard(name)
            if reachability.failure is None and name not in self._unprobed:
                self._next_probe.pop(name, None)
            elif not suspended:
                self._probe(name, reachability)

    def probe_soon(self, provider: str) -> None:
        """Probe a provider at the next check, unless it is being probed."""
        if provider not in self._probes:
            self._unprobed.add(provider)

    def clock_stepped(self, seconds: float) -> None:
        """Move all times by ``seconds``: the system clock was changed."""
        for reachability in self._reachabilities.values():
            reachability.clock_stepped(seconds)
        self._next_probe = {name: due + seconds for name, due in self._next_probe.items()}

    def stop(self) -> None:
        """Give up what is under way."""
        for probe in list(self._probes.values()):
            probe.cancel()

    async def begin(self) -> None:
        """
        Take over the alarms from before a restart; the first check probes the providers that mail waits for.

        To be called once, before new mail comes in. It changes nothing in the spool.
        """
        stats = await self._spool.stats()
        self._unprobed = {lane.provider for lane in stats.lanes if lane.waiting}
        for alarm in stats.unreachable:
            reachability = self._reachabilities.get(alarm.provider)
            if reachability is None:
                self._gone.add(alarm.provider)
                continue
            self._reported[alarm.provider] = alarm
            if alarm.stage == TAKES_NO_MAIL:
                self._lanes.deferrals.take_over(alarm, self._clock.seconds())
            else:
                reachability.failure = alarm
                self._unprobed.add(alarm.provider)

    def _change(self, name: str, trouble: Unreachable | None, *, aloud: bool) -> None:
        before, now = self._reported.pop(name, None), self._clock.seconds()
        if trouble is not None:
            self._reported[name] = trouble
            if aloud and before is None:
                place = {"reason": trouble.reason, "host": trouble.host, "stage": trouble.stage}
                seconds, what = now - trouble.since, trouble.trouble
                self._events("provider.failing", provider=name, trouble=what, seconds=seconds, **place)
        elif aloud and before is not None:
            self._events("provider.recovered", provider=name, seconds=now - before.since)

    def _probe(self, name: str, reachability: Reachability) -> None:
        """Ask a provider of which nothing is known but a failure, unless something asks it already."""
        now = self._clock.seconds()
        due = now if name in self._unprobed else self._next_probe.setdefault(name, now + _FIRST_PROBE)
        if now < due or reachability.waiting or name in self._probes:
            return
        self._unprobed.discard(name)
        self._next_probe[name] = now + _NEXT_PROBE
        probe = self._probes[name] = Deferred.fromCoroutine(self._ask(name, reachability))
        probe.addErrback(self._not_probed).addCallback(self._probe_ended, name)

    def _probe_ended(self, _: object, name: str) -> None:
        # Not by pop() in a lambda: a Deferred must not return itself.
        del self._probes[name]

    async def _ask(self, name: str, reachability: Reachability) -> None:
        outcome = await ask(self._providers[name], name, "", self._events)
        reached = reachability.failure is None and not self._lanes.is_suspended(name)
        if reached and isinstance(outcome, Blocked):
            now = (self._spool.clock or self._clock).seconds()
            await self._spool.block(self._lanes.block(name, "", outcome.why, now))

    def _not_probed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._events("spool.failed", operation="note_reachability", reason=failure.getErrorMessage())
