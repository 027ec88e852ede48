"""
Periodic tasks that keep the spool small: they remove finished mail and free its disk space.

Each works in small steps, between which mail is accepted and delivered.
"""

from collections.abc import Sequence
from typing import Final

from twisted.internet.interfaces import IReactorTime

from smtprelay.config.model import SpoolSettings
from smtprelay.interfaces import Events
from smtprelay.interfaces.spool import Maintenance
from smtprelay.service.periodic import PeriodicTask

#: Seconds between two measurements of the free space, after which what failed is tried again.
CHECK_EVERY: Final = 1.0

#: Seconds between two searches for finished messages that are too old.
SWEEP_EVERY: Final = 15.0

#: Seconds between two attempts to make the spool's files smaller.
SHRINK_EVERY: Final = 60.0

#: Most messages that one step removes.
STEP: Final = 200

#: The oldest history is removed when the spool takes more than this share of its limit: before new mail is
#: refused.
SHARE: Final = 0.8

#: Bytes of free space that stay in the file, for the next mail.
SLACK: Final = 4 * 1024 * 1024

#: Most steps in which space is given back at a time: about a second of the writer's time.
MOST_STEPS: Final = 40


class Retention:
    """
    The periodic tasks of one spool.

    :param settings: how much is kept, and for how long.
    :param clock: of the spool; its seconds are since the epoch.
    :ivar stopping: when it becomes true, the step under way is the last one.
    """

    def __init__(
        self, spool: Maintenance, settings: SpoolSettings, clock: IReactorTime, events: Events
    ) -> None:
        self._spool = spool
        self._events = events
        self._retention = settings.retention
        self._lease = settings.lease
        self._bound = SHARE * settings.limit.bytes
        self._seconds = clock.seconds
        self._spare = 0
        self.stopping = False

    @property
    def tasks(self) -> Sequence[PeriodicTask]:
        """What is to be done, and how often."""
        return [
            ("sweep", SWEEP_EVERY, self.sweep),
            ("shrink", SHRINK_EVERY, self.shrink),
            ("reclaim", self._lease / 2, self._reclaim),
            ("check_health", CHECK_EVERY, self._spool.check_health),
        ]

    async def sweep(self) -> None:
        """Remove finished mail that is too old, then as much of the rest as makes the spool too large."""
        now = self._seconds()
        while not self.stopping and await self._spool.sweep(now - self._retention.history, STEP):
            pass
        while not self.stopping and await self._spool.sweep_bodies(now - self._retention.bodies, STEP):
            pass
        await self._trim()

    async def shrink(self) -> None:
        """
        Give back space that was free the last time already.

        A busy spool fills what it has just emptied again.
        """
        spare = (await self._spool.space()).spare
        wanted, self._spare = min(spare, self._spare), spare
        if wanted <= SLACK:
            return
        for _ in range(MOST_STEPS):
            if self.stopping or not await self._spool.shrink(SLACK + spare - wanted):
                break
        self._spare = (await self._spool.space()).spare

    async def _reclaim(self) -> None:
        """Take over the deliveries of nodes that have gone."""
        if reclaimed := await self._spool.reclaim():
            self._events("spool.reclaimed", deliveries=reclaimed)

    async def _trim(self) -> None:
        """Remove finished mail before its time while the spool is too large."""
        forgotten = 0
        while not self.stopping and ((await self._spool.space()).used or 0) > self._bound:
            step = await self._spool.sweep(self._seconds() + 1, STEP)
            forgotten += step
            if not step:
                break
        if forgotten:
            self._events("history.pruned", messages=forgotten)
