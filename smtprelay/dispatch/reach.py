"""
The alarm about providers that cannot be reached.

It looks at what the providers' connections tell (:mod:`smtprelay.reachability`), and probes after a failure.
So it comes as soon with a single mail in the queue as with many, and a provider that is mended is seen before
its mail is due again. Mail waits and goes as it would without it.
"""

from collections.abc import Collection, Mapping
from typing import Final

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from smtprelay.interfaces import Events, Provider
from smtprelay.model.unreachable import Unreachable
from smtprelay.reachability import Reach, Reachability, SharedReach

#: How often it is looked, seconds.
LOOK_EVERY: Final = 1.0

#: So long after a failure a provider is probed, seconds, and then so often until it is reached.
_FIRST_PROBE: Final = 5.0
_NEXT_PROBE: Final = 15.0


class UnsharedReach(SharedReach):
    """Nobody else is asked: there is no spool."""

    async def note(self, _trouble: Unreachable) -> bool:
        """See :meth:`smtprelay.reachability.SharedReach.note`."""
        return True

    async def forget(self, _provider: str) -> bool:
        """See :meth:`smtprelay.reachability.SharedReach.forget`."""
        return True


@define
class _Watched:
    """
    What is known of one provider.

    :ivar told: what was told of it, and not ended yet.
    :ivar busy: the spool, or the provider, is being asked.
    """

    told: Unreachable | None = None
    busy: bool = False
    probed: float = 0.0


class ReachWatch:
    """
    Tells ``provider.failing`` and ``provider.recovered``, each once for all nodes.

    :param shared: what the nodes know together; ``None``: this process is alone.
    """

    def __init__(
        self,
        reachability: Reachability,
        providers: Mapping[str, Provider],
        shared: SharedReach | None,
        clock: IReactorTime,
        events: Events,
    ) -> None:
        self._reachability = reachability
        self._providers = providers
        self._shared = shared or UnsharedReach()
        self._clock = clock
        self._events = events
        self._watched: dict[str, _Watched] = {}
        self._probes: set[Deferred[None]] = set()

    @property
    def unreachable(self) -> Collection[Unreachable]:
        """What this process has told."""
        return [each.told for each in self._watched.values() if each.told is not None]

    async def look(self) -> None:
        """Look at every provider; to be called about once a second. It never raises."""
        for reach in self._reachability:
            watched = self._watched.setdefault(reach.provider, _Watched())
            if watched.busy:
                continue
            trouble = reach.trouble()
            if _place(trouble) != _place(watched.told):
                await self._tell(watched, trouble)
            self._probe(reach, watched)

    def stop(self) -> None:
        """Give up what is under way."""
        for probe in list(self._probes):
            probe.cancel()

    async def _tell(self, watched: _Watched, trouble: Unreachable | None) -> None:
        before, watched.busy = watched.told, True
        try:
            await self._change(before, trouble)
            watched.told = trouble
        except Exception as exc:  # noqa: BLE001 -- whatever the spool raises: it is told at the next look
            self._events("spool.failed", operation="reach", reason=str(exc))
        finally:
            watched.busy = False

    async def _change(self, before: Unreachable | None, trouble: Unreachable | None) -> None:
        now = self._clock.seconds()
        if trouble is not None:
            if await self._shared.note(trouble) and before is None:
                self._events(
                    "provider.failing",
                    provider=trouble.provider,
                    reason=trouble.reason,
                    host=trouble.host,
                    stage=trouble.stage,
                    seconds=now - trouble.since,
                )
        elif before is not None and await self._shared.forget(before.provider):
            self._events("provider.recovered", provider=before.provider, seconds=now - before.since)

    def _probe(self, reach: Reach, watched: _Watched) -> None:
        """Ask a provider of which nothing is known but a failure, or that hangs, unless mail does so."""
        provider = self._providers.get(reach.provider)
        now = self._clock.seconds()
        due = max(reach.failed + _FIRST_PROBE, watched.probed + _NEXT_PROBE)
        if provider is None or not (reach.failures or watched.told) or reach.waits or now < due:
            return
        watched.probed = now
        probe = Deferred.fromCoroutine(self._ask(provider, reach))
        self._probes.add(probe)
        probe.addErrback(self._broken, reach.provider).addBoth(lambda _: self._probes.discard(probe))

    async def _ask(self, provider: Provider, reach: Reach) -> None:
        if await provider.probe("") is None:
            reach.unproven()

    def _broken(self, failure: Failure, provider: str) -> None:
        if not failure.check(CancelledError):
            said = f"{failure.type.__name__ if failure.type else ''}: {failure.getErrorMessage()}"
            self._events("relay.warning", text=f"{provider}: probe: unexpected error: {said}")


def _place(trouble: Unreachable | None) -> object:
    """Return what there is to be written down; a text that only counts seconds is nothing new."""
    return trouble and (trouble.since, trouble.host, trouble.stage)
