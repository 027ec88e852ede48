"""
Which providers answer, and defer all mail: no connection fails, so that nothing else shows it.
"""

from collections.abc import Collection, Container
from typing import Final

from attrs import define, evolve, field, frozen

from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Outcome, Throttled
from smtprelay.model.queue import TAKES_NO_MAIL, Unreachable

#: A provider takes no mail if it has deferred so many in a row, for so long; seconds.
_MOST: Final = 3
_TAKES_NO_MAIL: Final = 600.0
#: After so long without another one they say nothing any more, seconds.
_FORGOTTEN: Final = 7200.0


@frozen
class _DeferredMail:
    """
    The deferrals of a provider since it took or refused a mail.

    :ivar since: when the first came, and ``last`` when the last one; seconds since the epoch.
    :ivar why: the words of the first.
    """

    since: float
    last: float
    why: str
    count: int = 1


@define(eq=False)
class Deferrals:
    """Counts how often in a row each provider deferred mail."""

    _known: dict[str, _DeferredMail] = field(factory=dict, init=False)

    def learn(self, provider: str, outcomes: Collection[Outcome], now: float) -> None:
        """Count what an attempt ended with; a mail that is taken, refused or blocked begins anew."""
        if any(isinstance(each, Delivered | Failed | Blocked) for each in outcomes):
            self.forget(provider)
        elif words := [each.why for each in outcomes if _is_deferral(each)]:
            known = self._known.get(provider)
            if known is None or now - known.last > _FORGOTTEN:
                self._known[provider] = _DeferredMail(now, now, words[0])
            else:
                self._known[provider] = evolve(known, last=now, count=known.count + 1)

    def alarm(self, provider: str, now: float) -> Unreachable | None:
        """Return the alarm of a provider that has deferred all mail for minutes."""
        known = self._known.get(provider)
        if known is None or known.count < _MOST or now - known.since < _TAKES_NO_MAIL:
            return None
        if now - known.last > _FORGOTTEN:
            return None
        return Unreachable(provider, known.since, "", TAKES_NO_MAIL, known.why)

    def take_over(self, alarm: Unreachable, now: float) -> None:
        """Note that a provider took no mail before a restart."""
        self._known[alarm.provider] = _DeferredMail(alarm.since, now, alarm.reason, _MOST)

    def forget(self, provider: str) -> None:
        """Count those of a provider anew."""
        self._known.pop(provider, None)

    def keep(self, providers: Container[str]) -> None:
        """Forget all other providers: they were removed."""
        self._known = {name: known for name, known in self._known.items() if name in providers}

    def clock_stepped(self, seconds: float) -> None:
        """Move all times by ``seconds``: the system clock was changed."""
        self._known = {
            name: evolve(known, since=known.since + seconds, last=known.last + seconds)
            for name, known in self._known.items()
        }


def _is_deferral(outcome: Outcome) -> bool:
    """Tell whether the provider does not take a mail now, whatever the mail is."""
    if isinstance(outcome, Deferred):
        return not (outcome.again or outcome.ours)
    return isinstance(outcome, Throttled)
