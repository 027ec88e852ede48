"""
Applies hold rules, and ends them when they expire.

The spool says when the next of them ends. Without a rule there is nothing to wait for.
"""

from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from smtprelay.interfaces import Events
from smtprelay.interfaces.spool import QueueAdmin

#: The spool's clock may be a little behind ours; and how long to wait after it has failed, seconds.
_SHORTEST: Final = 0.05
_AFTER_A_FAULT: Final = 60.0

#: A rule may end years from now; no reactor sleeps so long.
_LONGEST_SLEEP: Final = 86400.0


class HoldRuleRunner:
    """Applies the rules of one spool, from the first :meth:`wake` until :meth:`stop`."""

    def __init__(self, spool: QueueAdmin, clock: IReactorTime, events: Events) -> None:
        self._spool = spool
        self._clock = clock
        self._events = events
        self._alarm: IDelayedCall | None = None
        self._running = self._again = self._stopped = False

    def wake(self) -> None:
        """Apply the rules now."""
        self._again = not self._stopped
        if self._again and not self._running:
            Deferred.fromCoroutine(self._apply_hold_rules())

    def stop(self) -> None:
        """Do nothing more; a step that is under way may end."""
        self._stopped, self._again = True, False
        self._sleep(None)

    async def _apply_hold_rules(self) -> None:
        """Take one step after the other until nothing is to be done now; nothing is raised."""
        self._running = True
        when: float | None = None
        while self._again:
            self._again = False
            try:
                when = await self._spool.apply_hold_rules()
                self._again = self._again or (when == 0.0 and not self._stopped)
            except Exception as exc:  # noqa: BLE001 -- whatever the database raises
                if self._stopped:
                    break
                reason = f"{type(exc).__name__}: {exc}"
                self._events("spool.failed", operation="hold_rules", reason=reason)
                when = self._clock.seconds() + _AFTER_A_FAULT
        self._running = False
        self._sleep(None if self._stopped else when)

    def _sleep(self, until: float | None) -> None:
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        if until is not None:
            wait = min(_LONGEST_SLEEP, max(_SHORTEST, until - self._clock.seconds()))
            self._alarm = self._clock.callLater(wait, self.wake)
