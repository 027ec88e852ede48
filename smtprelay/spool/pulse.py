"""
Whether the spool can be written.

A write that failed says so; that the next one would not fail is known only when there was one. So
after a failure one is tried every now and then, and the relay is ready again, without a restart and
without any mail, as soon as the disk is.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from smtprelay.spool.connection import SpoolFault, Transaction
from smtprelay.spool.writer import Writer

T = TypeVar("T")

#: No message has such an id.
_NOBODY: Final = "-"


class Pulse:
    """
    The :class:`smtprelay.spool.writer.Writer` that it is given, watched.

    :ivar writer: the one that is watched.
    :ivar trouble: what the database said when a write failed, until :meth:`beat` has written; or ``""``.
    """

    def __init__(self, writer: Writer) -> None:
        self.trouble = ""
        self.writer = writer

    def do(self, operation: Callable[[Transaction], T]) -> Deferred[T]:
        """See :meth:`smtprelay.spool.writer.Writer.do`."""
        return self.writer.do(operation).addErrback(self._failed)

    async def beat(self) -> bool:
        """If the last write failed try another one; return whether that ended the trouble."""
        if not self.trouble:
            return False
        try:
            await self.writer.do(_touch)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it cannot be written yet
            self.trouble = str(error) or type(error).__name__
            return False
        self.trouble = ""
        return True

    async def drained(self) -> None:
        """Wait until all that was asked for has been done, or has failed."""
        with suppress(SpoolFault):
            await self.writer.do(lambda _: None)

    def close(self) -> Deferred[None]:
        """See :meth:`smtprelay.spool.writer.Writer.close`."""
        return self.writer.close()

    def _failed(self, failure: Failure) -> Any:
        if isinstance(failure.value, SpoolFault):
            self.trouble = str(failure.value)
        return failure


def _touch(tx: Transaction) -> None:
    """Change something and take it back: a transaction that has changed nothing is not written at all."""
    tx.execute("INSERT INTO upload (message, node) VALUES (?, ?)", (_NOBODY, tx.node))
    tx.execute("DELETE FROM upload WHERE message = ?", (_NOBODY,))
