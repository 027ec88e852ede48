"""
Checks whether the spool can be written.

After a failed write, a test write is made now and then: so the relay is ready again as soon as the disk is,
without a restart and without any mail. If the disk or the database hangs, writes neither fail nor end; a
write that takes too long counts as hung.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from smtprelay.spool.engines.transaction import SpoolFault, Transaction
from smtprelay.spool.engines.writer import Writer, do_nothing

T = TypeVar("T")

#: No message has such an id.
_NOBODY: Final = "-"

#: Seconds after which a write counts as hung.
_PATIENCE: Final = 5.0


class WriteHealth:
    """
    The :class:`smtprelay.spool.engines.writer.Writer` that it is given, watched.

    :ivar writer: the one that is watched.
    :param steady: gives seconds that only grow.
    :ivar trouble: the database's message when a write failed, until :meth:`retry_write` has written; or
      ``""``.
    """

    def __init__(self, writer: Writer, steady: Callable[[], float] = time.monotonic) -> None:
        self.trouble = ""
        self._reported = False
        self.writer = writer
        self._steady = steady
        self._under_way = 0
        self._last_answer = 0.0

    @property
    def silence(self) -> str:
        """For how long a database that hangs has answered nothing; ``""`` while it answers."""
        seconds = self._steady() - self._last_answer
        return f"no answer for {seconds:.0f} s" if self._under_way and seconds > _PATIENCE else ""

    def do(self, operation: Callable[[Transaction], T]) -> Deferred[T]:
        """Run ``operation``; the Deferred fires with its result after the commit."""
        if not self._under_way:
            self._last_answer = self._steady()
        self._under_way += 1
        return self.writer.do(operation).addBoth(self._answered)

    async def retry_write(self) -> bool:
        """If the last write failed try another one; return whether that ended the trouble."""
        if not self.trouble:
            return False
        try:
            await self.writer.do(_touch)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it cannot be written yet
            self.trouble = str(error) or type(error).__name__
            return False
        self.trouble, self._reported = "", False
        return True

    def is_news(self) -> bool:
        """Tell whether a failure is to be reported: while there is trouble, only the first is."""
        reported, self._reported = self._reported, bool(self.trouble)
        return not reported

    async def drained(self) -> None:
        """Wait until all that was asked for has been done, or has failed."""
        with suppress(SpoolFault):
            await self.writer.do(do_nothing)

    def close(self) -> Deferred[None]:
        """Run what waits, then let go of the database."""
        return self.writer.close()

    def _answered(self, result: Any) -> Any:
        self._under_way -= 1
        self._last_answer = self._steady()
        if isinstance(result, Failure) and isinstance(result.value, SpoolFault):
            self.trouble = str(result.value)
        return result


def _touch(tx: Transaction) -> None:
    """Change something and take it back: a transaction that has changed nothing is not written at all."""
    tx.execute("INSERT INTO upload (message, node) VALUES (?, ?)", (_NOBODY, tx.node.name))
    tx.execute("DELETE FROM upload WHERE message = ?", (_NOBODY,))
