"""
The limits of a header while it is received: its size, and how many ``Received:`` fields a mail loop made.

The header ends at the first empty line. Lines in it that are no field, and what is folded behind them, do not
count and do not end it: a text without a header is no large header, and no line in front of fields hides
them. Each line is recognised by its own first octets, so the result is the same however the content is cut.
Only the beginning of an unfinished line is kept. Pure.
"""

import re
from typing import Final

from smtprelay.model.message import Reply
from smtprelay.smtp import reply

#: Maximum octets of a field name, and of blanks behind it; RFC 5322 §2.1.1 allows 998 for all.
_LONGEST_NAME: Final = 512
#: Number of octets of a line that suffice to classify it.
_ENOUGH: Final = 2 * _LONGEST_NAME + 1

_NAME: Final = rb"[!-9;-~]{1,%d}+[ \t]{0,%d}+:" % (_LONGEST_NAME, _LONGEST_NAME)
_FOLDED: Final = rb"(?:[ \t][^\n]*+\n)*+"
_is_field: Final = re.compile(_NAME).match
_folded_lines: Final = re.compile(_FOLDED).match
#: Fields one behind the other, with what is folded behind them, are group 1; other lines are none.
_runs: Final = re.compile(rb"((?:%b[^\n]*+\n%b)++)|(?:(?!%b)[^\n]*+\n)++" % (_NAME, _FOLDED, _NAME)).finditer
_received: Final = re.compile(
    rb"^received[ \t]{0,%d}+:" % _LONGEST_NAME, re.IGNORECASE | re.MULTILINE
).findall


class HeaderCheck:
    """
    Checks one header, fed in pieces; it may end without an empty line.

    :param size: octets that its fields may have.
    :param hops: how many ``Received:`` fields it may have.
    :ivar ended: its end was seen.
    :ivar refusal: why the message cannot be taken, as far as is known yet; a loop comes first.
    """

    def __init__(self, size: int, hops: int) -> None:
        self._size = size
        self._hops = hops
        self._counted = 0  # octets of fields
        self._received = 0
        self._line = b""  # one whose end has not come
        self._in_line = False  # so long a one that what came of it is counted already
        self._in_field = False  # what is folded belongs to a field
        self.ended = False
        self.refusal: Reply | None = None

    def feed(self, content: bytes) -> None:
        """Check the next piece."""
        if self.ended:
            return
        lines = self._line + (self._behind_line(content) if self._in_line else content)
        end = 0 if lines.startswith(b"\r\n") else lines.find(b"\r\n\r\n") + 2
        if end == 1:
            end = lines.rfind(b"\n") + 1
        else:
            self.ended = True
        self._line = b"" if self.ended else lines[end:]
        lines = lines[:end]
        lowered = lines.lower()
        hops = lowered.count(b"\nreceived") + lowered.startswith(b"received")
        # Of nearly every header it is enough to know that it cannot have too much of anything.
        if self.ended and self._counted + end <= self._size and self._received + hops <= self._hops:
            return
        self._count(lines, has_hops=hops > 0)
        if len(self._line) >= _ENOUGH:
            self._begin_line(self._line)
        if self._received > self._hops:
            self.refusal = reply.too_many_hops(self._hops)
        elif self._counted > self._size:
            self.refusal = reply.header_too_large(self._size)

    def _behind_line(self, content: bytes) -> bytes:
        """Return what is behind the line that is counted already."""
        end = content.find(b"\n") + 1
        if self._in_field:
            self._counted += end or len(content)
        self._in_line = not end
        return content[end:] if end else b""

    def _begin_line(self, line: bytes) -> None:
        if not line.startswith((b" ", b"\t")):
            self._in_field = _is_field(line) is not None
        if self._in_field:
            self._counted += len(line)
            self._received += len(_received(line))
        self._in_line = True
        self._line = b""

    def _count(self, lines: bytes, *, has_hops: bool) -> None:
        if has_hops:
            self._received += len(_received(lines))
        start = 0
        if self._in_field:
            folded = _folded_lines(lines)
            start = folded.end() if folded else 0
            self._counted += start
        for run in _runs(lines, start):
            self._in_field = run.end(1) >= 0
            if self._in_field:
                self._counted += run.end() - run.start()
