"""
Sees to it that the rules which hold mail are carried out, and that they end in their time.

The spool says when the next of them ends. Without a rule there is nothing to wait for.
"""

from typing import Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from smtprelay.interfaces import Events
from smtprelay.interfaces.spool import QueueAdmin

#: The spool's clock may be a little behind ours; and how long to wait after it has failed, seconds.
_SHORTEST: Final = 0.05
_AFTER_A_FAULT: Final = 60.0

#: A rule may end years from now; no reactor sleeps so long.
_LONGEST_SLEEP: Final = 86400.0


class HoldRuleRunner:
    """Tends the rules of one spool, from the first :meth:`kick` on."""

    def __init__(self, spool: QueueAdmin, clock: IReactorTime, events: Events) -> None:
        self._spool = spool
        self._clock = clock
        self._events = events
        self._alarm: IDelayedCall | None = None
        self._work: Deferred[None] | None = None
        self._again = False
        self._stopped = False

    def kick(self) -> None:
        """Look at the rules now."""
        self._again = True
        if self._work is not None or self._stopped:
            return
        self._cancel()
        work = self._work = Deferred.fromCoroutine(self._tend())
        work.addErrback(self._failed)
        work.addBoth(self._done)

    def stop(self) -> None:
        """Do nothing more; a step that is under way may end."""
        self._stopped = True
        self._cancel()

    async def _tend(self) -> None:
        when: float | None = 0.0
        while self._again and not self._stopped:
            self._again = False
            when = await self._spool.apply_hold_rules()
            self._again = self._again or when == 0.0
        if when is not None and not self._stopped:
            wait = min(_LONGEST_SLEEP, max(_SHORTEST, when - self._clock.seconds()))
            self._alarm = self._clock.callLater(wait, self.kick)

    def _failed(self, failure: object) -> None:
        error = getattr(failure, "value", None)
        if self._stopped or isinstance(error, CancelledError):
            return
        self._events("spool.failed", operation="hold_rules", reason=f"{type(error).__name__}: {error}")
        self._alarm = self._clock.callLater(_AFTER_A_FAULT, self.kick)

    def _done(self, _: object) -> None:
        self._work = None
        if self._again and not self._stopped:
            self.kick()

    def _cancel(self) -> None:
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        self._alarm = None
