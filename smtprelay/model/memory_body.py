"""A body in memory: what came with its claim, or a report of ours."""

from collections.abc import AsyncIterator

from smtprelay.interfaces import Body


class MemoryBody(Body):
    """
    A :class:`smtprelay.interfaces.Body` of one piece.

    :ivar fault: ``None``: it can always be read.
    """

    __slots__ = ("_content", "size")
    fault: Exception | None = None

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the one piece."""
        yield self._content

    async def whole(self) -> bytes:
        """Return the one piece."""
        return self._content
