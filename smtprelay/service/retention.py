"""
The chores that keep the spool small: they remove finished mail, and give its room back to the disk.

Each goes in small steps, and mail comes between any two of them.
"""

from collections.abc import Sequence
from typing import Final

from twisted.internet.interfaces import IReactorTime

from smtprelay.config.model import SpoolSettings
from smtprelay.interfaces import Events
from smtprelay.interfaces.spool import Maintenance
from smtprelay.service.chores import Chore

#: How often the room in the spool is measured, and what failed is tried again, seconds.
LOOK_EVERY: Final = 1.0

#: How often finished messages are looked through for what may be forgotten, seconds.
SWEEP_EVERY: Final = 15.0

#: How often it is seen whether the spool's files can be smaller, seconds.
SHRINK_EVERY: Final = 60.0

#: Messages that one step forgets at most.
STEP: Final = 200

#: The history goes, the oldest first, when the spool takes more than this share of what it may take:
#: it must make room before new mail is refused.
SHARE: Final = 0.8

#: So much of the file stays though it is free: the next mail needs it, bytes.
SLACK: Final = 4 * 1024 * 1024

#: Steps in which room is given back, each time: about a second of the writer's time.
MOST_STEPS: Final = 40


class Retention:
    """
    The chores of one spool.

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
    def chores(self) -> Sequence[Chore]:
        """What is to be done, and how often."""
        return [
            ("sweep", SWEEP_EVERY, self.sweep),
            ("shrink", SHRINK_EVERY, self.shrink),
            ("reclaim", self._lease / 2, self._reclaim),
            ("look", LOOK_EVERY, self._spool.check_health),
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
        Give back room that was free the last time already.

        What a busy spool fills and empties again is left to it.
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
        """Take over what nodes had that are not there any more."""
        if reclaimed := await self._spool.reclaim():
            self._events("spool.reclaimed", deliveries=reclaimed)

    async def _trim(self) -> None:
        """Remove finished mail before its time while the spool is too large."""
        forgotten = 0
        while not self.stopping and await self._is_too_large():
            step = await self._spool.sweep(self._seconds() + 1, STEP)
            forgotten += step
            if not step:
                break
        if forgotten:
            self._events("history.pruned", messages=forgotten)

    async def _is_too_large(self) -> bool:
        used = (await self._spool.space()).used
        return used is not None and used > self._bound
