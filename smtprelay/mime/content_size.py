"""
An upper bound for a mail's content as JSON, counted while a large mail is received.

A provider that takes JSON limits the request, and only the whole mail tells how large that becomes. The bound
needs the headers alone and holds for every mail: it may be far too large, but is close for what large mail is
made of, files in base64 and texts in ASCII. Pure.
"""

from typing import Final

from attrs import define, field

from smtprelay.mime import headers
from smtprelay.mime.charset.labels import ASCII, HZ, codec_of
from smtprelay.mime.structure import Part, part_of
from smtprelay.mime.text import charsets_in
from smtprelay.mime.transfer_encoding import encoding_of
from smtprelay.model.shape import ContentCounter

#: Octets in JSON of one octet of a part. A character has three in UTF-8 and may have one in its own charset,
#: also in seven bits (half-width kana of ISO-2022-JP). JSON writes two for a quote. A file has less than two
#: in base64, whatever it is encoded in.
ONE_PART: Final = 3
#: And of any mail. If another part is HTML a text stands in both texts of a request: what becomes three
#: octets twice, an ampersand as one octet and as five.
ANY: Final = 6

#: Number of octets of a text that count as escaped unseen: the exact count matters only for large texts.
UNCOUNTED: Final = 3 << 20
#: What JSON writes as two octets, of what texts are of.
_ESCAPED: Final = b'\t\r\n"\\'

#: Octets of a boundary, of its line, and of a part's header. What is longer is not known, nor what follows
#: so many octets of headers, parts, lines with two hyphens in front, or multiparts within each other.
_MAX_BOUNDARY: Final = 100
_MAX_LINE: Final = 250
_MAX_HEADER: Final = 4096
_MAX_HEADERS: Final = 16 * 1024
_MAX_PARTS: Final = 100
_MAX_DASHES: Final = 1000
_MAX_DEPTH: Final = 8
_BLANKS: Final = b" \t\r"

#: In these an octet of ASCII is always the character that it seems to be.
_PLAIN: Final = frozenset((ASCII, "utf-8", "cp1252"))


def content_counter(block: bytes) -> ContentCounter | None:
    """
    Return what counts the mail with this header, from its first octet; ``None``: it cannot be counted.

    :param block: the whole header, without the empty line.
    """
    part = _regular_part(block)
    if part is None:
        return None
    if part.is_multipart:
        boundary = _boundary_of(part)
        return PartsCounter([_OpenMultipart(boundary)]) if boundary else None
    return TextCounter(is_plain=_is_text(part))


def is_plain(block: bytes) -> bool:
    """
    Tell whether each octet of a mail is a character of its text or of its header, if all are ASCII but ESC.

    ``False`` also where the header is not written as RFC 5322 wants it, and the mail must be read to know.

    :param block: the whole header, without the empty line.
    """
    part = _regular_part(block)
    return part is not None and _is_text(part)


def _regular_part(block: bytes) -> Part | None:
    found = headers.regular(block + b"\r\n")
    return None if found is None else part_of(*found)


def _is_text(part: Part) -> bool:
    return (
        part.kind.kind == "text/plain"
        and part.disposition.kind != "attachment"
        and not part.file_name
        and encoding_of(part.first("content-transfer-encoding")) == "7bit"
        and (codec_of(part.kind.parameters.get("charset", "")) or ASCII) in _PLAIN
        # Text without a charset may be in that of the header's words.
        and not any(codec_of(each) == HZ for each in charsets_in(part.headers))
    )


@define
class TextCounter:
    """
    Counts a mail that is one part.

    :ivar is_plain: what :func:`is_plain` says of the header.
    """

    is_plain: bool
    _size: int = 0
    _escapes: int = 0

    def feed(self, piece: bytes) -> None:
        """Count the next piece."""
        self._size += len(piece)
        # By ESC, texts of 7 bits may have characters of other charsets.
        self.is_plain = self.is_plain and piece.isascii() and b"\x1b" not in piece
        if self._size <= UNCOUNTED:
            self._escapes += len(piece)
        elif self.is_plain:
            self._escapes += len(piece) - len(piece.translate(None, _ESCAPED))

    @property
    def most(self) -> int:
        """The most octets that what was counted has in JSON."""
        return self._size + self._escapes if self.is_plain else ONE_PART * self._size


@define
class _OpenMultipart:
    """A multipart that is not at its end; ``begun``: a part of it has."""

    boundary: bytes
    begun: bool = False


@define
class PartsCounter:
    """
    Counts a mail of several parts: files in base64 become what they are, all else may grow.

    A part is known by the header of its multipart and its own, as :mod:`.structure` knows it: where that
    would have to judge, nothing more is believed.
    """

    #: The multiparts within each other, the innermost last. None: where a part begins is not known any more.
    _levels: list[_OpenMultipart]
    _size: int = 0
    #: Octets of files in base64 that are at their end, and where the open one began.
    _files: int = 0
    _file_at: int | None = None
    _parts: int = 0
    _headers: int = 0
    _dashes: int = 0
    #: What only the next piece explains: a line end, or a delimiter and the header behind it.
    _open: bytes = field(default=b"", repr=False)

    def feed(self, piece: bytes) -> None:
        """Count the next piece."""
        self._size += len(piece)
        if not self._levels or not piece:
            return
        # There are no hyphens in base64.
        if b"-" not in piece and b"-" not in self._open:
            self._open = piece[-1:]
            return
        window = self._open + piece
        self._open = window[self._read(window, self._size - len(window)) :]

    @property
    def most(self) -> int:
        """The most octets that what was counted has in JSON."""
        files = self._files if self._file_at is None else self._files + self._size - self._file_at
        return files + ANY * (self._size - files)

    def _read(self, window: bytes, base: int) -> int:
        """Read on, and return from where on ``window`` is needed again; ``base`` is where it begins."""
        at = 0
        while self._levels and (found := window.find(b"\n--", at)) >= 0:
            self._end_file(base + found)
            end = window.find(b"\n", found + 1, found + _MAX_LINE)
            if end < 0 and len(window) - found < _MAX_LINE:
                return found
            at = found + 1
            level = self._delimited(window[found + 3 : end].rstrip(_BLANKS) if end >= 0 else None)
            if level is None:
                continue
            blank = window.find(b"\n\r\n", end, end + _MAX_HEADER)
            if blank < 0 and len(window) - end < _MAX_HEADER:
                return found
            at = max(at, blank + 2)
            if self._begin_part(level, window[end + 1 : blank + 3] if blank >= 0 else b""):
                self._file_at = base + at + 1
        return max(at, len(window) - 2)

    def _end_file(self, end: int) -> None:
        if self._file_at is not None:
            self._files += max(0, end - self._file_at)
            self._file_at = None

    def _delimited(self, line: bytes | None) -> _OpenMultipart | None:
        """Return the level whose next part ``line`` begins; ``None`` is a line too long to be judged."""
        self._dashes += 1
        if line is None or self._dashes > _MAX_DASHES:
            self._levels.clear()
            return None
        for level in self._levels:
            if line == level.boundary:
                return level
            if line.removesuffix(b"--").rstrip(_BLANKS) == level.boundary:
                del self._levels[self._levels.index(level) + 1 :]
                return None
        # It may be taken for the boundary that was meant.
        if not self._levels[-1].begun:
            self._levels.clear()
        return None

    def _begin_part(self, level: _OpenMultipart, header: bytes) -> bool:
        """Return whether the part with this header is a file in base64."""
        del self._levels[self._levels.index(level) + 1 :]
        level.begun = True
        self._parts += 1
        self._headers += len(header)
        few = self._parts <= _MAX_PARTS and self._headers <= _MAX_HEADERS
        if few and header == b"\r\n":
            return False
        found = headers.regular(header) if few else None
        if found is None:
            self._levels.clear()
            return False
        part = part_of(*found)
        if part.is_multipart:
            self._begin_level(_boundary_of(part))
        return _is_file(part)

    def _begin_level(self, boundary: bytes) -> None:
        known = [level.boundary for level in self._levels]
        if boundary and boundary not in known and len(known) < _MAX_DEPTH:
            self._levels.append(_OpenMultipart(boundary))
        else:
            self._levels.clear()


def _is_file(part: Part) -> bool:
    """Tell whether ``part`` becomes no more octets than it has, whatever they are."""
    return (
        not part.kind.kind.startswith(("multipart/", "text/", "message/"))
        and encoding_of(part.first("content-transfer-encoding")) == "base64"
    )


def _boundary_of(part: Part) -> bytes:
    """Return the boundary of a multipart, ``b""`` if there is none that only means one thing."""
    boundary = part.kind.boundary
    return b"" if len(boundary) > _MAX_BOUNDARY or boundary.endswith(b"-") else boundary
