r"""
The content of a message: from the octets behind DATA to those that are stored.

Whole segments are decoded by ``bytes`` operations, never line by line. Of each segment the longest end that
could begin ``CRLF.CRLF`` is held back; what remains never splits a CRLF or a ``CRLF.``, so it can be decoded
by itself.

Only ``CRLF.CRLF`` ends data, and only a dot behind CRLF is stuffing (RFC 5321 §4.5.2); the dots of ``\n.\n``
or ``\r.\r`` are content. From a client whose commands end with a bare LF it is ``LF.LF`` and a dot behind LF,
and nothing else: CR is content. Bare line ends become CRLF *after* that, and NULs are removed after that, so
that fixing cannot make an end or a stuffing dot out of content; a line of one dot that arises so is stored as
it is, and stuffed when it leaves. Content that is refused is still read to its end, or what follows would be
taken for commands.

Programs leave NULs at the end of their strings, and mail is readable without them. Text in UTF-16 is not: it
is refused. It is recognised by NULs in every second octet, by NULs around the octets of a line end, or by a
byte order mark at the beginning of a line. Pure.
"""

import re
from collections.abc import Callable
from io import IncrementalNewlineDecoder
from typing import Final

from attrs import field, frozen

from smtprelay.model.message import Reply
from smtprelay.smtp import reply
from smtprelay.smtp.events import END_OF_DATA
from smtprelay.smtp.header_limits import HeaderCheck
from smtprelay.smtp.settings import ListenerSettings


@frozen
class _LineEnd:
    """
    What ends lines, and so what ends data.

    :ivar end: what ends data.
    :ivar dot: finds a line that begins with a dot; faster than ``in``, as it looks for the CR by ``memchr``.
    :ivar held: what is held back at the end of a segment, longest first: an end may begin with it.
    """

    octets: bytes
    end: bytes
    dot: Callable[[bytes], re.Match[bytes] | None] = field(repr=False)
    held: tuple[bytes, ...]


_CRLF: Final = _LineEnd(
    b"\r\n", b"\r\n.\r\n", re.compile(rb"\r\n\.").search, (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")
)
#: A CR stays with its LF, which would be two line ends without it.
_LF: Final = _LineEnd(b"\n", b"\n.\n", re.compile(rb"\n\.").search, (b"\r\n.", b"\n.", b"\r\n", b"\n", b"\r"))

#: Octets of content that are decoded at a time: what a transport reads at most at once.
SEGMENT: Final = 64 * 1024

#: The octets of four letters, or those of a line end, in UTF-16; whichever half of a pair comes first.
_UTF_16: Final = re.compile(rb"(?:[^\0\r\n]\0){4}|\r\0\n\0|\0\r\0").search
#: A byte order mark at the beginning of a line.
_MARK: Final = re.compile(rb"\n(?:\xff\xfe|\xfe\xff)").search
#: Maximum number of octets of an incomplete match of either at the end of a segment.
_TAIL: Final = 7


class BodyDecoder:
    """
    Decodes the content of one message.

    :param bare: the client's lines end with a bare LF.
    :ivar wanted: how many octets :meth:`feed` may take at most.
    :ivar ended: the end of data was seen.
    :ivar ends: what that ends, as :attr:`smtprelay.smtp.events.Content.end` says it.
    :ivar rest: what came behind it; it is for the session.
    :ivar size: octets decoded so far, stored or not.
    :ivar refusal: what must be answered at the end of data instead of storing it, as far as is known yet;
        when several things are wrong it is the same one however the octets were cut.
    """

    def __init__(self, settings: ListenerSettings, *, bare: bool = False) -> None:
        self._limit = settings.size
        self._size_of = settings.size_of
        self._fix = settings.bare_newlines != "refuse"
        self._line_end = _LF if bare else _CRLF
        self._header = HeaderCheck(settings.header_size, settings.hops)
        self._newlines = IncrementalNewlineDecoder(None, translate=False)
        # The CRLF of the DATA command may be the first of the end (RFC 5321 §4.1.1.4).
        self._held = self._line_end.octets
        self._first = True
        self._tail = b""  # the last octets of what was decoded, as they came
        self._bare = self._nul = self._mark = self._utf_16 = False  # were seen
        self._odd = False  # one of these was, or the header is no good
        self.refusal: Reply | None = None
        self.wanted = SEGMENT
        self.ends = END_OF_DATA
        self.ended = False
        self.rest = b""
        self.size = 0

    def _first_refusal(self) -> Reply | None:
        """Return the reply for what is wrong, always in the same order."""
        if self._nul and not self._fix:
            return reply.NUL_IN_CONTENT
        if self._utf_16 or (self._mark and self._nul):
            return reply.UTF_16
        if self._bare and not self._fix:
            return reply.BARE_NEWLINES
        if self._header.refusal is None and self.size > self._limit:
            return reply.too_large(self._limit, self._size_of, self.size)
        return self._header.refusal

    def feed(self, segment: bytes) -> bytes:
        """Take octets from the client; return what is to be stored, ``b""`` if that is nothing."""
        window = self._held + segment if self._held else segment
        content, stuffed = self._cut(window)
        if not content:
            return b""
        stored = self._decode(content, stuffed=stuffed)
        self.size += len(stored)
        if not self._header.ended:
            self._header.feed(stored)
            self._odd = self._odd or self._header.refusal is not None
        if self._odd or self.size > self._limit:
            self.refusal = self._first_refusal()
        return stored if self.refusal is None else b""

    def _cut(self, window: bytes) -> tuple[bytes, bool]:
        """
        Return what is certainly content, and whether a dot in it may be stuffed.

        What may be the end is held back, and what follows it is kept.
        """
        line_end = self._line_end
        # In most segments no dot begins a line, but for the one of the end; in base64 there is none at all.
        found = line_end.dot(window) if b"." in window else None
        dot = found.start() if found else -1
        end = window.find(line_end.end, dot) if dot >= 0 else -1
        self._held = b""
        if end >= 0:
            self.ended = True
            self.rest = window[end + len(line_end.end) :]
            content = window[: end + len(line_end.octets)]
        else:
            content = window
            for beginning in line_end.held:
                if window.endswith(beginning):
                    self._held = beginning
                    content = window[: -len(beginning)]
                    break
        return content, 0 <= dot < len(content) - len(line_end.octets)

    def _decode(self, content: bytes, *, stuffed: bool) -> bytes:
        text = content.decode("latin-1")
        nul = b"\0" in content
        if nul or not text.isascii():
            self._detect_utf_16(self._tail + content, nul=nul)
        self._tail = content[-_TAIL:] if len(content) >= _TAIL else (self._tail + content)[-_TAIL:]
        # The only single pass in C that tells CRLF from CR and LF: a third of counting each.
        self._newlines.reset()
        self._newlines.decode(text, final=True)
        if stuffed:
            line_end = self._line_end.octets
            content = content.replace(line_end + b".", line_end)
        if self._newlines.newlines not in (None, "\r\n"):
            self._bare = self._odd = True
            content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        # Behind that, or a NUL between a CR and an LF would make one line end or two, as the octets were cut.
        if nul:
            content = content.replace(b"\0", b"")
        if self._first:
            self._first = False
            return content[2:]
        return content

    def _detect_utf_16(self, octets: bytes, *, nul: bool) -> None:
        self._nul = self._nul or nul
        self._odd = self._odd or nul
        self._mark = self._mark or _MARK(octets) is not None
        self._utf_16 = self._utf_16 or (nul and _UTF_16(octets) is not None)
