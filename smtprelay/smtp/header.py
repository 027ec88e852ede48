"""
The header block of a message on its way in, looked at for two things only.

Mail that goes in circles collects ``Received:`` headers; and a header block is
kept in memory by many a reader, so it is bounded. Both are answered by searching
the block as a whole, once, not by reading its lines. Pure.
"""

import re
from typing import Final

from smtprelay.message import Reply
from smtprelay.smtp import reply

#: Fields and their folded lines; the last one may be cut off.
_FIELDS: Final = re.compile(rb"(?:(?:[!-9;-~]+[ \t]*:|[ \t])[^\n]*(?:\n|\Z))*")


class HeaderCheck:
    """
    Judges one header block, fed in pieces.

    :param size: octets that the block may have, the empty line not counted.
    :param hops: how many ``Received:`` headers it may have.
    """

    __slots__ = ("_block", "_hops", "_size")

    def __init__(self, size: int, hops: int) -> None:
        # As if a line came before, so that the first line is found like the others.
        self._block: bytearray | None = bytearray(b"\r\n")
        self._size = size
        self._hops = hops

    def feed(self, content: bytes) -> Reply | None:
        """Look at the next piece; return a refusal, once, or ``None``."""
        block = self._block
        if block is None:
            return None
        start = max(0, len(block) - 3)
        # Of a large piece only as much as decides; what is behind it is body.
        enough = self._size + 4
        block += content[:enough]
        end = block.find(b"\r\n\r\n", start)
        if 0 <= end <= self._size:
            return self._count(block[:end])
        return None if len(block) < enough else self._judge(block[:enough])

    def finish(self) -> Reply | None:
        """Look at a block that no empty line ended."""
        return None if self._block is None else self._count(self._block)

    def _judge(self, block: bytearray) -> Reply | None:
        """Look at a block that is too large, unless it is no header at all but a body without one."""
        fields = _FIELDS.match(block, 2)
        assert fields is not None
        if fields.end() < len(block):
            return self._count(block[: fields.end()])
        self._block = None
        return reply.header_too_large(self._size)

    def _count(self, block: bytearray) -> Reply | None:
        self._block = None
        if block.lower().count(b"\r\nreceived:") > self._hops:
            return reply.too_many_hops(self._hops)
        return None
