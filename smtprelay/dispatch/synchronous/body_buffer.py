"""
The body of a message that is never spooled, for as long as it is needed.

Most mail is small and stays in memory. What is larger goes into an unnamed temporary file, so that a
listener full of large mails costs little memory, and a process that dies leaves nothing behind. The file is
written and read on a thread, one piece after the other.
"""

import tempfile
from collections.abc import AsyncIterator
from typing import IO, Final

from twisted.internet.defer import Deferred, DeferredLock
from twisted.python.failure import Failure

from smtprelay.interfaces import DeferToThread
from smtprelay.mime.head import Head, HeaderCollector
from smtprelay.model.shape import Shape, ShapeCounter
from smtprelay.net.buffer_budget import Budget

#: Bytes of one message that are held in memory.
MOST_IN_MEMORY: Final = 1 << 20

#: Bytes of one chunk of a body, at most.
CHUNK: Final = 256 * 1024


class BodyBuffer:
    """
    Receives a body; when it is complete it is a :class:`smtprelay.interfaces.Body`.

    :param budget: of memory; when it is used up the file begins at one chunk.
    :param counts_content: :attr:`.Shape.in_json` is wanted.
    :ivar size: bytes so far.
    """

    def __init__(
        self, defer_to_thread: DeferToThread, budget: Budget | None = None, *, counts_content: bool = True
    ) -> None:
        self.size = 0
        self._shape = ShapeCounter()
        self._defer_to_thread = defer_to_thread
        self._budget = budget or Budget()
        self._counts_content = counts_content
        self._parts: list[bytes] = []
        self._held = 0
        self._header = HeaderCollector()
        self._file: IO[bytes] | None = None
        self._fault: BaseException | None = None
        self._spilled = False
        # Not every caller waits when asked to, and the file has one position.
        self._lock = DeferredLock()

    def write(self, chunk: bytes) -> "Deferred[None] | None":
        """Take the next bytes; go on at once, or when the Deferred fires. It never raises."""
        self.size += len(chunk)
        self._shape.feed(chunk)
        if self._fault is not None:
            return None
        self._header.feed(chunk)
        self._parts.append(chunk)
        self._held += len(chunk)
        self._budget.take(len(chunk))
        short = self._spilled or self._budget.exceeded
        return self._spill() if self._held > (CHUNK if short else MOST_IN_MEMORY) else None

    async def complete(self) -> None:
        """
        Note that nothing more comes; from now on it can be read.

        :raises OSError: it could not be stored. So whatever else the thread raised.
        """
        if self._spilled:
            await self._spill()
        else:
            self._parts = [b"".join(self._parts)]
        if self._fault is not None:
            raise self._fault

    @property
    def shape(self) -> Shape:
        """What its octets are like, so far."""
        return self._shape.shape()

    @property
    def head(self) -> Head:
        """The message's header."""
        return self._header.head()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the body in pieces, in order."""
        for start in range(0, self.size, CHUNK):
            yield await self._read(start, CHUNK)

    async def whole(self) -> bytes:
        """Return all of the body."""
        return await self._read(0, self.size)

    def close(self) -> None:
        """Let go of it; nothing is read any more."""
        self._let_go()
        if self._spilled:
            # It has no name: whatever keeps it from being closed, it ends with the process.
            self._lock.run(self._defer_to_thread, self._discard).addErrback(lambda _: None)

    # --- the file

    def _spill(self) -> "Deferred[None]":
        content, self._held = b"".join(self._parts), 0
        if not self._spilled and self._counts_content:
            self._shape.begin_content(self._header.content_counter(), content)
        self._parts = []
        self._spilled = True
        stored = self._lock.run(self._defer_to_thread, self._append, content).addErrback(self._failed)
        return stored.addCallback(lambda _: self._budget.give_back(len(content)))

    async def _read(self, start: int, count: int) -> bytes:
        if not self._spilled:
            return b"".join(self._parts)[start : start + count]
        content: bytes = await self._lock.run(self._defer_to_thread, self._read_at, start, count)
        return content

    def _failed(self, failure: Failure) -> None:
        """Remember it; the sender learns it at the end of the data."""
        self._fault = self._fault or failure.value
        self._let_go()

    def _let_go(self) -> None:
        self._budget.give_back(self._held)
        self._held = 0
        self._parts = []

    # --- on a thread

    def _append(self, content: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by _discard
        self._file.write(content)
        # A full disk must be noticed here, not when the file is read.
        self._file.flush()

    def _read_at(self, start: int, count: int) -> bytes:
        assert self._file is not None
        self._file.seek(start)
        return self._file.read(count)

    def _discard(self) -> None:
        if self._file is not None:
            self._file.close()
