"""
The spool's upkeep, on its writer and its reader; see :class:`smtprelay.model.maintenance.Maintenance`.

What an engine can do for its files beyond the queue operations is a value, :class:`Files`: a
database elsewhere looks after its own.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from attrs import frozen
from twisted.internet.defer import DeferredLock

from smtprelay.model.maintenance import Checked, Space
from smtprelay.spool.engines.transaction import Connection, Transaction
from smtprelay.spool.engines.writer import Writer
from smtprelay.spool.maintenance import retention
from smtprelay.spool.maintenance.check import checked
from smtprelay.spool.maintenance.recount import recount

if TYPE_CHECKING:
    from smtprelay.spool.engines.reader import Reader


def _unknown(_: Connection) -> Space:
    return Space()


def _nothing(_: Connection) -> Sequence[str]:
    return ()


def _nothing_to_give(_: Transaction, _spare: int) -> int:
    return 0


def _no_log(_: Connection) -> None:
    return None


@frozen(kw_only=True)
class Files:
    """
    What an engine can do for its files.

    :ivar space: see :meth:`smtprelay.model.maintenance.Maintenance.space`.
    :ivar shrink: so; within a transaction.
    :ivar cut_log: cuts off a log that is large and not needed; on the thread that reads.
    :ivar verify: reads all there is; gives a sentence for each damage.
    """

    space: Callable[[Connection], Space] = _unknown
    shrink: Callable[[Transaction, int], int] = _nothing_to_give
    cut_log: Callable[[Connection], None] = _no_log
    verify: Callable[[Connection], Sequence[str]] = _nothing


#: What has none, or looks after them itself.
NO_FILES: Final = Files()


class SpoolMaintenance:
    """See :class:`smtprelay.model.maintenance.Maintenance`."""

    def __init__(self, writer: Writer, reader: "Reader", files: Files) -> None:
        self._writer = writer
        self._reader = reader
        self._files = files
        # One at a time: each keeps one of the reader's threads, and mail needs another.
        self._checking = DeferredLock()

    async def sweep_bodies(self, before: float, limit: int = 200) -> int:
        """See :meth:`smtprelay.model.maintenance.Maintenance.sweep_bodies`."""
        return await self._writer.do(partial(retention.sweep_bodies, before=before, limit=limit))

    async def space(self) -> Space:
        """See :meth:`smtprelay.model.maintenance.Maintenance.space`."""
        return await self._reader.do(self._files.space)

    async def shrink(self, spare: int) -> int:
        """See :meth:`smtprelay.model.maintenance.Maintenance.shrink`."""
        left = await self._writer.do(lambda tx: self._files.shrink(tx, spare))
        if not left:
            await self._reader.do(self._files.cut_log)
        return left

    async def check(self, *, deep: bool = False) -> Checked:
        """See :meth:`smtprelay.model.maintenance.Maintenance.check`."""
        verify = self._files.verify if deep else _nothing
        return await self._checking.run(self._reader.do, partial(checked, verify=verify))

    async def recount(self) -> int:
        """See :meth:`smtprelay.model.maintenance.Maintenance.recount`."""
        return await self._writer.do(recount)
