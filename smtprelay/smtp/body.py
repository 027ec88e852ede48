r"""
The content of a message: from the octets behind DATA to those that are stored.

Strategy: whole segments by ``bytes`` operations, never line by line. Of each segment
the longest end that could begin ``CRLF.CRLF`` is held back; what remains never splits a
CRLF or a ``CRLF.``, so it can be judged and decoded by itself.

Only ``CRLF.CRLF`` ends data, and only a dot behind CRLF is stuffing (RFC 5321 §4.5.2);
the dots of ``\n.\n`` or ``\r.\r`` are content. Bare line ends are made CRLF
*after* that, so that fixing cannot make an end or a stuffing dot out of content; a
line of one dot that arises so is stored as what it is, and stuffed when it goes
out. Content that is refused is still read to its real end, or what follows it
would be taken for commands. Pure.
"""

import re
from io import IncrementalNewlineDecoder
from typing import Final

from smtprelay.message import Reply
from smtprelay.smtp import reply
from smtprelay.smtp.header import HeaderCheck
from smtprelay.smtp.settings import Settings

_END: Final = b"\r\n.\r\n"
#: Faster than ``in``: it looks for the CR by ``memchr``.
_DOT: Final = re.compile(rb"\r\n\.").search
_BEGINNINGS: Final = (_END[:4], _END[:3], _END[:2], _END[:1])

#: When several things are wrong the first of these rules is named, however the octets were cut.
_ORDER: Final = ("nul", "line-ends", "header-size", "hops", "size")


class BodyDecoder:
    """
    Decodes the content of one message.

    :ivar ended: the end of data was seen.
    :ivar rest: what came behind it; it is for the session.
    :ivar size: octets decoded so far, stored or not.
    """

    __slots__ = (
        "_first",
        "_fix",
        "_header",
        "_held",
        "_limit",
        "_newlines",
        "_refusals",
        "ended",
        "rest",
        "size",
    )

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.size
        self._fix = settings.bare_newlines == "fix"
        self._header = HeaderCheck(settings.header_size, settings.hops)
        self._newlines = IncrementalNewlineDecoder(None, translate=False)
        self._refusals: dict[str, Reply] = {}
        # The CRLF of the DATA command may be the first of the end (RFC 5321 §4.1.1.4).
        self._held = b"\r\n"
        self._first = True
        self.ended = False
        self.rest = b""
        self.size = 0

    @property
    def refusal(self) -> Reply | None:
        """What must be answered at the end of data instead of storing it, as far as is known yet."""
        return next((self._refusals[rule] for rule in _ORDER if rule in self._refusals), None)

    def feed(self, segment: bytes) -> bytes:
        """Take octets from the client; return what is to be stored, ``b""`` if that is nothing."""
        window = self._held + segment if self._held else segment
        # In most segments no dot begins a line, but for the one of the end; in base64 there is none at all.
        found = _DOT(window) if b"." in window else None
        dot = found.start() if found else -1
        content = self._cut(window, dot)
        stored = self._decode(content, stuffed=0 <= dot < len(content) - 2) if content else b""
        self.size += len(stored)
        if self.size > self._limit:
            self._refuse(reply.too_large(self._limit))
        self._refuse(self._header.feed(stored))
        if self.ended:
            self._refuse(self._header.finish())
        return b"" if self._refusals else stored

    def _cut(self, window: bytes, dot: int) -> bytes:
        """Return what is surely content; keep what may be the end, and what is behind it."""
        end = window.find(_END, dot) if dot >= 0 else -1
        if end >= 0:
            self.ended = True
            self._held = b""
            self.rest = window[end + len(_END) :]
            return window[: end + 2]
        for beginning in _BEGINNINGS:
            if window.endswith(beginning):
                self._held = beginning
                return window[: -len(beginning)]
        self._held = b""
        return window

    def _decode(self, content: bytes, *, stuffed: bool) -> bytes:
        if b"\0" in content:
            self._refuse(reply.NUL_IN_CONTENT)
        clean = self._has_clean_line_ends(content)
        if stuffed:
            content = content.replace(b"\r\n.", b"\r\n")
        if not clean:
            content = self._mend(content)
        if self._first:
            self._first = False
            return content[2:]
        return content

    def _has_clean_line_ends(self, content: bytes) -> bool:
        # The only single pass in C that tells CRLF from CR and LF: a third of counting each.
        self._newlines.reset()
        self._newlines.decode(content.decode("latin-1"), final=True)
        return self._newlines.newlines in (None, "\r\n")

    def _mend(self, content: bytes) -> bytes:
        if not self._fix:
            self._refuse(reply.BARE_LINE_ENDS)
            return content
        return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")

    def _refuse(self, refusal: Reply | None) -> None:
        if refusal is not None:
            self._refusals.setdefault(refusal.rule, refusal)
