"""
A stored message, read piece by piece.
"""

from collections.abc import AsyncIterator
from functools import partial

from smtprelay.spool.connection import Connection
from smtprelay.spool.reader import Reader


class StoredBody:
    """See :class:`smtprelay.interfaces.Body`."""

    def __init__(self, reader: Reader, message: str, size: int) -> None:
        self.size = size
        self._reader = reader
        self._message = message

    async def chunks(self) -> AsyncIterator[bytes]:
        """See :meth:`smtprelay.interfaces.Body.chunks`."""
        n = had = 0
        while n == 0 or had < self.size:
            n += 1
            content = await self._reader.do(partial(_chunk, message=self._message, n=n))
            if content is None:
                break
            had += len(content)
            yield content
        if n == 1 and content is None:
            raise LookupError(f"the body of {self._message} is gone")
        if had != self.size:
            raise LookupError(f"the body of {self._message} has {had} bytes instead of {self.size}")

    async def whole(self) -> bytes:
        """See :meth:`smtprelay.interfaces.Body.whole`."""
        return b"".join([chunk async for chunk in self.chunks()])


def _chunk(connection: Connection, message: str, n: int) -> bytes | None:
    row = connection.execute("SELECT content FROM chunk WHERE message = ? AND n = ?", (message, n)).fetchone()
    return None if row is None else bytes(row[0])
