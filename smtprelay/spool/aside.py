"""
Export, import and upkeep of a spool without a daemon; the node's lock is held for as long as it is open.

The same functions as the daemon's, each in a transaction of its own.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from smtprelay.orders import Obeyed, Orders
from smtprelay.queue import Selection
from smtprelay.spool import export, imports, orders, shrink
from smtprelay.spool.check import checked
from smtprelay.spool.connection import SpoolFault, Transaction
from smtprelay.spool.lock import SpoolLock
from smtprelay.spool.recount import recount
from smtprelay.spool.sqlite import DATABASE, SqliteEngine, connect_reader, prepare_folder
from smtprelay.transfer import Packed, Portion
from smtprelay.upkeep import Checked

T = TypeVar("T")


class SpoolAside:
    """
    A spool on disk that nobody else writes while it is open.

    Its methods are those of :class:`smtprelay.transfer.Transfer`, but return at once.

    :param new: make it, if there is none.
    :raises SpoolBusy: a daemon has it.
    :raises FileNotFoundError: there is none.
    :raises SpoolFault: it cannot be used.
    """

    def __init__(self, path: str, *, new: bool = False) -> None:
        folder = _existing(path) if not new else prepare_folder(path)
        self._lock = SpoolLock(folder)
        self._engine = SqliteEngine(database=str(folder / DATABASE), paces={}, lease=60.0, seconds=time.time)
        try:
            self._connection = self._engine.connect()
        except SpoolFault:
            self._lock.release()
            raise

    def export(self, selection: Selection, mark: str = "", *, moving: bool = False) -> Portion:
        """See :meth:`smtprelay.transfer.Transfer.export`."""
        return self._do(partial(export.export, selection=selection, mark=mark, moving=moving))

    def piece(self, message: str, n: int) -> bytes | None:
        """See :meth:`smtprelay.transfer.Transfer.piece`."""
        return export.piece(self._connection, message, n)

    def exported(self, messages: Sequence[str], _who: str) -> Sequence[str]:
        """See :meth:`smtprelay.transfer.Transfer.exported`."""
        return self._do(partial(export.drop, messages=messages))

    def put(self, packed: Sequence[Packed], _who: str) -> Sequence[bool | Exception]:
        """See :meth:`smtprelay.transfer.Transfer.put`."""
        return [self._put(each) for each in packed]

    def put_piece(self, message: str, n: int, content: bytes) -> bool:
        """See :meth:`smtprelay.transfer.Transfer.put_piece`."""
        return self._do(partial(imports.put_piece, message=message, n=n, content=content))

    def orders(self) -> Orders:
        """See :meth:`smtprelay.transfer.Transfer.orders`."""
        return orders.orders(self._connection)

    def obey(self, given: Orders, _who: str) -> Obeyed:
        """See :meth:`smtprelay.transfer.Transfer.obey`."""
        return self._do(partial(orders.obey, given=given))

    def recount(self) -> int:
        """See :meth:`smtprelay.upkeep.Upkeep.recount`."""
        return self._do(recount)

    def close(self) -> None:
        """Let go of the spool."""
        self._engine.disconnect(self._connection)
        self._lock.release()

    def _put(self, packed: Packed) -> bool | Exception:
        try:
            return self._do(partial(imports.put, packed=packed))
        except (ValueError, sqlite3.Error) as error:
            with suppress(SpoolFault, sqlite3.Error):
                self._do(partial(imports.forget_pieces, message=packed.parcel.id))
            return error

    def _do(self, operation: Callable[[Transaction], T]) -> T:
        with self._engine.transaction(self._connection) as transaction:
            return operation(transaction)


def check(path: str, *, deep: bool = False) -> Checked:
    """
    Check the spool in the folder ``path``, whoever has it.

    :raises FileNotFoundError: there is none.
    """
    connection = connect_reader(_existing(path) / DATABASE)
    try:
        return checked(connection, shrink.verify if deep else lambda _: ())
    finally:
        connection.close()


def compact(path: str) -> tuple[int, int]:
    """
    Write the spool's file anew, as small as can be; return the bytes before and after.

    :raises SpoolBusy: a daemon has it.
    :raises FileNotFoundError: there is none.
    """
    folder = _existing(path)
    lock = SpoolLock(folder)
    try:
        return shrink.compact(folder / DATABASE)
    finally:
        lock.release()


def _existing(path: str) -> Path:
    if not Path(path, DATABASE).exists():
        raise FileNotFoundError(f"there is no spool in {path}")
    return Path(path)
