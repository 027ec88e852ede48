"""
Checks health, reclaims leases, shrinks the files; runs on the spool's writer and reader.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from twisted.internet.defer import DeferredLock

from smtprelay.model.queue_admin import Checked, Space
from smtprelay.spool.archive import SpoolArchive
from smtprelay.spool.engines.sqlite_reserve import GONE
from smtprelay.spool.engines.transaction import Connection
from smtprelay.spool.maintenance import retention
from smtprelay.spool.maintenance.check import checked, recount
from smtprelay.spool.operations import recover
from smtprelay.spool.operations.accept import forget_chunks
from smtprelay.spool.part import SpoolContext, SpoolPart, writes
from smtprelay.spool.query import views


class SpoolMaintenance(SpoolPart):
    """Implements :class:`smtprelay.interfaces.spool.Maintenance`."""

    sweep = writes(retention.sweep)
    sweep_bodies = writes(retention.sweep_bodies)
    recount = writes(recount)

    def __init__(self, context: SpoolContext, archive: SpoolArchive) -> None:
        super().__init__(context)
        self._engine = context.engine
        self._capacity = context.capacity
        self._archive = archive
        self._unreadable = ""
        # One at a time: each keeps one of the reader's threads, and mail needs another.
        self._checking = DeferredLock()

    @property
    def complaint(self) -> str:
        full = self._capacity.full
        return self._writer.trouble or self._writer.silence or self._unreadable or (full and f"full: {full}")

    async def check_health(self) -> None:
        await self._review_reserve()
        try:
            self._capacity.measured(*await self._reader.do(partial(views.usage, engine=self._engine)))
            if self._capacity.full:
                await self._reader.do(self._engine.reuse_log)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is the reason
            self._unreadable = str(error) or type(error).__name__
        else:
            self._unreadable = ""
        if await self._writer.retry_write():
            self._events("spool.writable")
            self._context.wake()
        self._context.unfinished.update(self._archive.abandoned())
        await self._drop_unfinished()

    async def reclaim(self) -> int:
        count = (await self._writer.do(recover.reclaim)).report(self._events)
        if count:
            self._context.wake()
        return count

    async def space(self) -> Space:
        return await self._reader.do(self._engine.space)

    async def shrink(self, spare: int) -> int:
        left = await self._writer.do(partial(self._engine.shrink, spare=spare))
        if not left:
            await self._reader.do(self._engine.cut_log)
        return left

    async def check(self, *, deep: bool = False) -> Checked:
        verify = self._engine.verify if deep else None
        return await self._checking.run(self._reader.do, partial(checked, verify=verify))

    async def _review_reserve(self) -> None:
        """Give the reserve up for delivery when the disk is full, and take it back when it is not."""
        reserve, troubled = self._engine.reserve, bool(self._writer.trouble)
        if reserve is None or (reserve.kept and not troubled):
            return
        with suppress(Exception):  # the disk fails in another way, which is reported elsewhere
            await self._reader.do(partial(_apart, work=partial(reserve.review, troubled=troubled)))
            self._capacity.refuse_all("" if reserve.kept else GONE)
            if not reserve.kept:
                # Mail that is on its way to the disk fails before there is room that is not for it.
                await self._writer.drained()
                await self._reader.do(partial(_apart, work=reserve.give_up))

    async def _drop_unfinished(self) -> None:
        """Drop the pieces of messages that never came."""
        unfinished = self._context.unfinished
        while unfinished and not self._writer.trouble:
            message = unfinished.pop()
            try:
                await self._writer.do(partial(forget_chunks, message=message))
            except Exception as error:  # noqa: BLE001 -- later, then
                unfinished.add(message)
                self._events("spool.failed", operation="abort", reason=str(error), message=message)
                return


def _apart(_: Connection, work: Callable[[], None]) -> None:
    """Do what blocks and needs no database."""
    work()
