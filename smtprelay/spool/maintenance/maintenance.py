"""
The spool's upkeep, on its writer and its reader; see :class:`smtprelay.model.maintenance.Maintenance`.
"""

from functools import partial

from twisted.internet.defer import DeferredLock

from smtprelay.model.maintenance import Checked, Space
from smtprelay.spool.engines.engine import Engine
from smtprelay.spool.engines.reader import Reader
from smtprelay.spool.engines.writer import Writer, writes
from smtprelay.spool.maintenance import retention
from smtprelay.spool.maintenance.check import checked
from smtprelay.spool.maintenance.recount import recount


class SpoolMaintenance:
    """What keeps a spool sound and small, on its writer and its reader."""

    sweep_bodies = writes(retention.sweep_bodies)
    recount = writes(recount)

    def __init__(self, writer: Writer, reader: Reader, engine: Engine) -> None:
        self._writer = writer
        self._reader = reader
        self._engine = engine
        # One at a time: each keeps one of the reader's threads, and mail needs another.
        self._checking = DeferredLock()

    async def space(self) -> Space:
        """Tell how much room the spool takes, at a cost that does not grow with it."""
        return await self._reader.do(self._engine.space)

    async def shrink(self, spare: int) -> int:
        """Give back a little of what is free beyond ``spare`` bytes."""
        left = await self._writer.do(lambda tx: self._engine.shrink(tx, spare))
        if not left:
            await self._reader.do(self._engine.cut_log)
        return left

    async def check(self, *, deep: bool = False) -> Checked:
        """Count everything anew and compare, in one read transaction; mail goes on meanwhile."""
        verify = self._engine.verify if deep else None
        return await self._checking.run(self._reader.do, partial(checked, verify=verify))
