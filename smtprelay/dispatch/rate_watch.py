"""
Keeps the rate of providers at what their accounts may be asked for: the service raises and lowers it.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import define, evolve, field
from twisted.internet.interfaces import IReactorTime

from smtprelay.interfaces import Events, Provider
from smtprelay.interfaces.spool import WorkQueue
from smtprelay.model.route import Window

#: How often a rate is read, and how soon again if it is not known, seconds.
_EVERY: Final = 600.0
_AGAIN: Final = 60.0


@define(eq=False)
class RateWatch:
    """
    Asks the providers for their rate, and has the spool keep to it.

    :param providers: by name, those whose rate the configuration does not say.
    :param share: so many workers share a rate, each with windows that are as many times longer.
    :ivar stopping: nothing is changed any more.
    """

    _providers: Mapping[str, Provider]
    _spool: WorkQueue
    _clock: IReactorTime
    _events: Events
    _share: int = field(default=1, kw_only=True)
    _due: dict[str, float] = field(factory=dict, init=False)
    _known: dict[str, Sequence[Window]] = field(factory=dict, init=False)
    stopping: bool = field(default=False, init=False)

    async def check(self) -> None:
        """Ask those that are due; to be called about once a second. It raises as the spool does."""
        for name, provider in self._providers.items():
            if self._due.get(name, 0.0) <= self._clock.seconds():
                # Also if it raises: the others have their turn.
                self._due[name] = self._clock.seconds() + _AGAIN
                windows = await provider.rate()
                self._due[name] = self._clock.seconds() + (_AGAIN if windows is None else _EVERY)
                if windows and windows != self._known.get(name) and not self.stopping:
                    await self._change(name, windows)

    async def _change(self, name: str, windows: Sequence[Window]) -> None:
        shared = (evolve(each, seconds=each.seconds * self._share) for each in windows)
        await self._spool.change_rate(name, tuple(shared))
        self._known[name] = windows
        rates = ", ".join(f"{each.count} {each.unit} in {each.seconds:g} s" for each in windows)
        self._events("provider.rate", provider=name, rate=rates)
