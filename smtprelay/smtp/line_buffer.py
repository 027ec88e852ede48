"""
Input from the client that is not read yet, and its lines.

A line that is too long is refused as soon as that is known, and dropped up to its end: its end is never taken
for a command, and no more than a line of it is kept. A line that ends with a bare LF is refused, and each one
behind it up to a CRLF: for clients that end lines by CRLF they are one. Where it is allowed, a client's first
line decides that a bare LF ends all of its lines, those of content too; never both. Pure.
"""

from typing import Final

from smtprelay.model.message import Refused
from smtprelay.smtp import reply

#: Octets of a command line with its CRLF. RFC 5321 asks for 512 and more for each extension;
#: Postfix takes 2048.
LONGEST_LINE: Final = 2048
#: Passwords may be client secrets and tokens (RFC 4954 §4).
LONGEST_LOGIN_LINE: Final = 4096

_CR: Final = 13


class LineBuffer:
    """
    Octets on their way to be lines, or to be taken as they are.

    :param may_be_bare: the first line decides what ends a line; else it is CRLF.
    :ivar octets: empty if nothing is unread; else the end of it is unread.
    :ivar bare: a bare LF ends a line.
    :ivar latest: the line that was taken or refused last, or its beginning if it was too long.
    """

    __slots__ = ("_at", "_later", "_may_be_bare", "_mixed", "_swallowing", "bare", "latest", "octets")

    def __init__(self, *, may_be_bare: bool = False) -> None:
        self.bare = False
        self.latest = b""
        self._may_be_bare = may_be_bare  # no line has come that decided it
        self.octets = b""
        self._later: list[bytes] = []  # later input, joined when it is read
        self._at = 0  # what lies before it has been read
        self._swallowing = False  # the rest of a line that was refused because it is too long
        self._mixed = False  # a line ended with a bare LF, and no CRLF has come since

    def receive(self, octets: bytes) -> None:
        """Add what the client sent."""
        if self.octets:
            self._later.append(octets)
        else:
            self.octets = octets

    def startswith(self, beginning: bytes) -> bool:
        """Tell whether ``beginning``, in upper case, begins what is unread; its own case is ignored."""
        if self._later:
            self._join()
        return self.octets[self._at : self._at + len(beginning)].upper() == beginning

    def take(self, most: int) -> bytes:
        """Take what is unread, up to ``most`` octets of it."""
        if self._later:
            self._join()
        end = self._at + most
        if end >= len(self.octets):
            octets = self.octets[self._at :]
            self.octets, self._at = b"", 0
        else:
            octets = self.octets[self._at : end]
            self._at = end
        return octets

    def put_back(self, octets: bytes) -> None:
        """Let ``octets``, the end of what was taken last, be unread again."""
        if self.octets:
            self._at -= len(octets)
        else:
            self.octets = octets

    def drop(self) -> None:
        """Forget everything that is unread."""
        self.octets = b""
        self._later.clear()
        self._at = 0

    def _join(self) -> None:
        self.octets = b"".join([self.octets[self._at :], *self._later])
        self._later.clear()
        self._at = 0

    def line(self, *, login: bool) -> bytes | None:
        """
        Take the next line without its end; ``None`` if it is not here yet.

        :param login: it is a response of AUTH and may be as long as an AUTH command.
        :raises Refused: once for each line that is none.
        """
        if self._later:
            self._join()
        if not self.octets or (self._swallowing and not self._swallow()):
            return None
        # The first LF decides everything, so it does not matter how segments fall.
        start = self._at
        end = self.octets.find(b"\n", start) + 1
        length = (end or len(self.octets)) - start
        if length > LONGEST_LINE and length > self._longest(login=login):
            self._swallowing = True
            self.latest = self.octets[start : start + LONGEST_LINE].partition(b"\n")[0]
            raise Refused(reply.LINE_TOO_LONG)
        if not end:
            return None
        crlf = self._is_crlf(end) if self._may_be_bare else self.octets.endswith(b"\r\n", start, end)
        line = self.latest = self.octets[start : end - 1 - crlf]
        self._at = end
        if end == len(self.octets):
            self.octets, self._at = b"", 0
        if not crlf or self.bare or self._mixed:
            self._check_end(crlf=crlf)
        return line

    def _is_crlf(self, end: int) -> bool:
        """Tell whether the line that ends before ``end``, with LF, ends with CRLF; the first one decides."""
        crlf = end - self._at > 1 and self.octets[end - 2] == _CR
        if self._may_be_bare:
            self._may_be_bare = False
            self.bare = not crlf
        return crlf

    def _check_end(self, *, crlf: bool) -> None:
        if self.bare:
            if crlf:
                raise Refused(reply.MIXED_LINE_ENDS)
            return
        mixed, self._mixed = self._mixed, not crlf
        if mixed or not crlf:
            raise Refused(reply.BARE_LINE_FEED)

    def _longest(self, *, login: bool) -> int:
        return LONGEST_LOGIN_LINE if login or self.startswith(b"AUTH") else LONGEST_LINE

    def _swallow(self) -> bool:
        """Drop the rest of a line that was too long; return whether its end was found."""
        end = self.octets.find(b"\n", self._at) + 1
        self._swallowing = not end
        if end:
            crlf = self._is_crlf(end)
            self._mixed = not (crlf or self.bare)
            self._at = end
            if end == len(self.octets):
                self.drop()
        elif self.octets.endswith(b"\r"):
            self._at = len(self.octets) - 1
        else:
            self.drop()
        return end > 0
