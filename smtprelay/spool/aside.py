"""
Export, import and upkeep of a spool without a daemon.

The same functions as the daemon's, each in a transaction of its own.
"""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial

from smtprelay.orders import Obeyed, Orders
from smtprelay.queue import Selection
from smtprelay.spool import export, imports, orders, shrink
from smtprelay.spool.check import checked
from smtprelay.spool.connection import SpoolFault
from smtprelay.spool.ground import Folder, Ground
from smtprelay.spool.lock import SpoolLock
from smtprelay.spool.recount import recount
from smtprelay.spool.sqlite import DATABASE
from smtprelay.transfer import Packed, Portion
from smtprelay.upkeep import Checked


class SpoolAside:
    """
    A spool that is open for changes until it is closed.

    Its methods are those of :class:`smtprelay.transfer.Transfer`, but return at once.

    :param new: make it, if there is none.
    :raises Exception: what :meth:`smtprelay.spool.ground.Ground.writing` raises.
    """

    def __init__(self, ground: Ground, *, new: bool = False) -> None:
        self._unfit: tuple[type[Exception], ...] = (ValueError, *ground.unfit)
        self._open = ExitStack()
        self._writer = self._open.enter_context(ground.writing(new=new))

    def export(self, selection: Selection, mark: str = "", *, moving: bool = False) -> Portion:
        """See :meth:`smtprelay.transfer.Transfer.export`."""
        return self._writer.run(partial(export.export, selection=selection, mark=mark, moving=moving))

    def piece(self, message: str, n: int) -> bytes | None:
        """See :meth:`smtprelay.transfer.Transfer.piece`."""
        return self._writer.run(partial(export.piece, message=message, n=n))

    def exported(self, messages: Sequence[str], _who: str) -> Sequence[str]:
        """See :meth:`smtprelay.transfer.Transfer.exported`."""
        return self._writer.run(partial(export.drop, messages=messages))

    def put(self, packed: Sequence[Packed], _who: str) -> Sequence[bool | Exception]:
        """See :meth:`smtprelay.transfer.Transfer.put`."""
        return [self._put(each) for each in packed]

    def put_piece(self, message: str, n: int, content: bytes) -> bool:
        """See :meth:`smtprelay.transfer.Transfer.put_piece`."""
        return self._writer.run(partial(imports.put_piece, message=message, n=n, content=content))

    def orders(self) -> Orders:
        """See :meth:`smtprelay.transfer.Transfer.orders`."""
        return orders.orders(self._writer.connection)

    def obey(self, given: Orders, _who: str) -> Obeyed:
        """See :meth:`smtprelay.transfer.Transfer.obey`."""
        return self._writer.run(partial(orders.obey, given=given))

    def recount(self) -> int:
        """See :meth:`smtprelay.upkeep.Upkeep.recount`."""
        return self._writer.run(recount)

    def close(self) -> None:
        """Let go of the spool."""
        self._open.close()

    def _put(self, packed: Packed) -> bool | Exception:
        try:
            return self._writer.run(partial(imports.put, packed=packed))
        except self._unfit as error:
            with suppress(SpoolFault, *self._unfit):
                self._writer.run(partial(imports.forget_pieces, message=packed.parcel.id))
            return error


def check(ground: Ground, *, deep: bool = False) -> Checked:
    """
    Check the spool, whoever has it.

    :raises Exception: what :meth:`smtprelay.spool.ground.Ground.reading` raises.
    """
    connection = ground.reading()
    try:
        return checked(connection, ground.verify if deep else lambda _: ())
    finally:
        ground.leave(connection)


def compact(folder: Folder) -> tuple[int, int]:
    """
    Write the spool's file anew, as small as can be; return the bytes before and after.

    :raises SpoolBusy: a daemon has it.
    :raises FileNotFoundError: there is none.
    """
    path = folder.existing()
    lock = SpoolLock(path)
    try:
        return shrink.compact(path / DATABASE)
    finally:
        lock.release()
