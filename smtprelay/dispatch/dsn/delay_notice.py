"""
Telling senders that their mail still waits (RFC 3461 §4.1, ``DELAY``).

However it waits (deferred, in a blocked lane, held), it is found by its age, and each delivery is reported of
once. Ids sort by time, so each look continues where the one before it ended.
"""

from collections.abc import Mapping
from typing import Final

from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from smtprelay.dispatch.dsn.reporter import DsnReporter
from smtprelay.dispatch.events import notified
from smtprelay.interfaces import Events
from smtprelay.interfaces.spool import WorkQueue
from smtprelay.model.attempt import NewMessage
from smtprelay.model.queue import Overdue
from smtprelay.model.route import Route

#: Looks in the time that makes mail late; and the bounds of the seconds between two of them.
_LOOKS: Final = 10
_SHORTEST: Final = 1.0
_LONGEST: Final = 60.0


@define(eq=False)
class Delays:
    """
    Looks for deliveries that are late, and notifies their senders.

    :param after: seconds that a delivery waits before its sender is notified.
    :ivar stopping: when it becomes true, the delivery under way is the last one.
    """

    _spool: WorkQueue
    _routes: Mapping[str, Route]
    _reporter: DsnReporter
    _after: float = field(kw_only=True)
    _clock: IReactorTime = field(kw_only=True)
    _events: Events = field(kw_only=True)
    _mark: tuple[str, int] = field(default=("", 0), init=False)
    stopping: bool = field(default=False, init=False)

    @property
    def every(self) -> float:
        """Seconds between two looks: ten in the time that makes mail late, within bounds."""
        return min(_LONGEST, max(_SHORTEST, self._after / _LOOKS))

    async def check(self) -> None:
        """Go through all that has become late since the last time; it raises as the spool does."""
        before = self._clock.seconds() - self._after
        more = True
        while more:
            page = await self._spool.overdue(before, self._mark)
            for overdue in page.deliveries:
                if self.stopping:
                    return
                notice = await self._notice(overdue)
                if notice is not None and await self._spool.notify(overdue.delivery, notice):
                    notified(self._events, overdue.delivery, notice)
            self._mark, more = page.mark, page.more

    async def _notice(self, overdue: Overdue) -> NewMessage | None:
        delivery, now = overdue.delivery, self._clock.seconds()
        route = self._routes.get(delivery.route)
        until = None if route is None or route.expire is None else max(now, now + route.expire - overdue.age)
        try:
            return await self._reporter.delay(overdue, self._spool.body(delivery), now, until=until)
        except CancelledError:
            raise
        except Exception as exc:  # noqa: BLE001 -- one failed notice must not prevent the others
            text = f"{delivery.id}: no notice of its delay could be made: {type(exc).__name__}: {exc}"
            self._events("relay.warning", text=text)
            return None
