"""
A stored message, read piece by piece.
"""

from collections.abc import AsyncIterator, Callable
from functools import partial

from twisted.internet.defer import Deferred

from smtprelay.interfaces import Body, StoredMessage
from smtprelay.spool.engines.reader import Reader
from smtprelay.spool.engines.transaction import Connection


class StoredBody(StoredMessage):
    """The body of a message of the spool."""

    def __init__(self, reader: Reader, message: str, size: int) -> None:
        self.message, self.size = message, size
        self._reader = reader

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the rows of the spool, one by one."""
        n = had = 0
        while n == 0 or had < self.size:
            n += 1
            content = await self._reader.do(partial(_chunk, message=self.message, n=n))
            if content is None:
                break
            had += len(content)
            yield content
        if n == 1 and content is None:
            raise LookupError(
                f"the content of {self.message} is no longer in the spool:"
                " spool.retention.bodies says how long that of delivered mail is kept"
            )
        if had != self.size:
            raise LookupError(f"the body of {self.message} has {had} bytes instead of {self.size}")


class ArrivingBody(Body):
    """
    The body of a message that has come whole and is not accepted yet.

    :param rest: what of it is not on its way to the disk.
    :param written: fires when all that is on its way is there.
    """

    def __init__(
        self, reader: Reader, message: str, size: int, rest: bytes, written: Callable[[], "Deferred[None]"]
    ) -> None:
        self.size = size
        self._reader = reader
        self._message = message
        self._rest = rest
        self._written = written

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give what was stored, then the rest."""
        stored = self.size - len(self._rest)
        if stored:
            await self._written()
            async for chunk in StoredBody(self._reader, self._message, stored).chunks():
                yield chunk
        if self._rest or not stored:
            yield self._rest


def _chunk(connection: Connection, message: str, n: int) -> bytes | None:
    row = connection.execute("SELECT content FROM chunk WHERE message = ? AND n = ?", (message, n)).fetchone()
    return None if row is None else bytes(row[0])
