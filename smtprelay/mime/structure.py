"""
The parts of a mail: where each begins and ends, found in one pass over its lines.

Multiparts within each other are a stack, not a recursion, and each line is looked at once, at whatever
depth it stands: the work grows with the size of the mail alone. What a part means, ``parse`` tells. Pure.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import define, field

from smtprelay.mime import file_names, headers, transfer_encoding
from smtprelay.mime.kinds import MISSPELT, OCTETS, kind_by_name
from smtprelay.mime.parameters import ContentType, content_type, disposition
from smtprelay.mime.text import Headers, by_name

MAX_DEPTH: Final = 30
MAX_PARTS: Final = 1000

#: An undeclared boundary has a letter or digit, and only characters that the RFC allows.
_GUESSED: Final = re.compile(
    rb"(?=[^A-Za-z0-9]*[A-Za-z0-9])[0-9A-Za-z'()+_,./:=?-][0-9A-Za-z'()+_,./:=? -]{0,200}"
)
_NO_DISPOSITION: Final = ContentType("", {})
_CONTENT_FIELD: Final = re.compile(rb"Content-[A-Za-z-]+[ \t]*:", re.IGNORECASE)


class TooComplexError(ValueError):
    """The mail has more parts, or parts deeper within each other, than any honest one."""


@define
class Part:
    """
    One part, be it the whole mail, a multipart or what is in one.

    :ivar headers: of the part, octets that are not ASCII kept by ``surrogateescape``.
    :ivar named: their values, by lower-case name.
    :ivar kind: its type, or, if it has none that can be read, what its file name tells.
    :ivar parent: the place of its multipart in the list of all parts; -1 for none.
    :ivar begin: where its content begins in the mail, and ``end`` where it ends.
    :ivar start: where its header begins, and ``header_end`` where that ends. The content goes from there to
        ``last``; but if it is a multipart in which no part begins, it is only some of what lies between.
    :ivar aside: of a multipart, where what stands before its first and behind its last part lies.
    """

    headers: Headers = field(repr=False)
    named: Mapping[str, Sequence[str]] = field(repr=False)
    kind: ContentType
    disposition: ContentType
    parent: int
    begin: int
    end: int = 0
    start: int = 0
    header_end: int = 0
    last: int = 0
    aside: list[tuple[int, int]] = field(factory=list)

    @property
    def is_multipart(self) -> bool:
        """Whether it may hold other parts."""
        return self.kind.kind.startswith("multipart/")

    @property
    def file_name(self) -> str:
        """What it says that a file of it is called, ``""`` for nothing."""
        return given_name(self.disposition, self.kind)

    def first(self, name: str) -> str:
        """Return the value of its first field called ``name``, which is in lower case."""
        return self.named.get(name, ("",))[0]

    def encoding(self, content: bytes) -> transfer_encoding.Encoding:
        """Return how its content is packed: a text or mail that claims to be base64, and is none, is not."""
        if "content-transfer-encoding" not in self.named:
            return "7bit"
        encoding = transfer_encoding.encoding_of(self.first("content-transfer-encoding"))
        is_readable = encoding == "base64" and self.kind.kind.startswith(("text/", "message/"))
        return "7bit" if is_readable and transfer_encoding.is_no_base64(content) else encoding


def parts_of(mail: bytes) -> list[Part]:
    """
    Return all parts of ``mail``: a multipart before what is in it, and that in its order.

    The first is the mail itself. A multipart in which no part begins is a part of plain text.

    :raises TooComplexError: more than :data:`MAX_PARTS` parts, or deeper than :data:`MAX_DEPTH`.
    """
    fields, begin = headers.split(mail)
    whole = part_of(fields, begin)
    if not whole.is_multipart:
        whole.header_end, whole.end, whole.last = begin, len(mail), len(mail)
        return [whole]
    scan = _Scan(mail)
    scan.run(whole)
    return scan.parts


@define(eq=False)
class _Level:
    """A multipart that is not at its end: its boundaries, as declared and as guessed."""

    part: int
    boundaries: list[bytes]
    #: Whether a part of it has begun, whether its last delimiter was seen, and whether parts follow that.
    begun: bool = False
    closed: bool = False
    left: bool = False
    #: Where what belongs to no part begins.
    loose: int | None = None


@define
class _Scan:
    """One pass over the lines of a mail."""

    mail: bytes = field(repr=False)
    parts: list[Part] = field(factory=list)
    _levels: list[_Level] = field(factory=list)
    #: The levels that a boundary may stand for, the innermost last.
    _delimiters: dict[bytes, list[_Level]] = field(factory=dict)
    #: The part without parts that is not at its end.
    _leaf: Part | None = None

    def run(self, whole: Part) -> None:
        mail = self.mail
        at = self._add(whole, 0)
        while self._levels:
            at = self._next_dashes(at)
            if at < 0:
                break
            end = mail.find(b"\n", at)
            after = end + 1 if end >= 0 else len(mail)
            line = mail[at:after].rstrip(b" \t\r\n")
            found = self._match(line) or self._guess(line, after)
            if found is None:
                at = after
                continue
            level, last = found
            self._end_parts(level, at)
            if last:
                level.closed, level.loose = True, after
                at = after
            else:
                at = self._next_part(level, after)
        self._end_parts(None, len(mail))

    def _next_dashes(self, at: int) -> int:
        """Return where the next line with two hyphens in front begins, at ``at`` or behind; -1 for none."""
        if at == 0:
            return 0 if self.mail.startswith(b"--") else self._next_dashes(1)
        # To look for one octet is ten times as fast, and base64 has no hyphens.
        dash = self.mail.find(b"-", at)
        found = self.mail.find(b"\n--", dash - 1) if dash >= 0 else -1
        return found + 1 if found >= 0 else -1

    def _is_delimiter(self, line: bytes) -> bool:
        return self._match(line.rstrip(b" \t")) is not None

    def _match(self, line: bytes) -> tuple[_Level, bool] | None:
        """Return whose delimiter ``line`` is, and whether it is the last one."""
        named = self._delimiters.get(line[2:], ())
        level, last = _innermost(named), False
        if line.endswith(b"--"):
            ended = _innermost(self._delimiters.get(line[2:-2].rstrip(b" \t"), ()))
            # "--b--" ends b, if that lies within a multipart with the boundary "b--".
            if ended is not None and (level is None or ended.part > level.part):
                level, last = ended, True
        if level is None and named:
            level = named[-1]  # which is closed already, and has more parts
        return None if level is None else (level, last)

    def _guess(self, line: bytes, after: int) -> tuple[_Level, bool] | None:
        """Take ``line`` for a delimiter of the innermost level, if that has none and it looks like one."""
        level = self._levels[-1]
        if level.begun or line.endswith(b"--") or not _GUESSED.fullmatch(line, 2):
            return None
        if level.boundaries and not _CONTENT_FIELD.match(self.mail, after):
            return None
        self._declare(level, line[2:])
        return level, False

    def _declare(self, level: _Level, boundary: bytes) -> None:
        level.boundaries.append(boundary)
        self._delimiters.setdefault(boundary, []).append(level)

    def _end_parts(self, level: _Level | None, at: int) -> None:
        """End what is open within ``level``, or all: the line at ``at`` belongs to none of it."""
        end = at
        if at < len(self.mail) or level is not None:
            end -= self.mail.endswith(b"\n", 0, end)
            end -= self.mail.endswith(b"\r", 0, end)
        while self._levels and self._levels[-1] is not level:
            closed = self._levels.pop()
            for boundary in closed.boundaries:
                self._delimiters[boundary].remove(closed)
            self._end_level(closed, end)
        if self._leaf is not None:
            self._leaf.end = self._leaf.last = max(self._leaf.begin, end)
            self._leaf = None
        if level is not None and level.loose is not None:
            self._set_aside(level, end)

    def _end_level(self, level: _Level, end: int) -> None:
        part = self.parts[level.part]
        part.end = part.last = max(part.begin, end)
        self._set_aside(level, end)
        if not level.begun:
            part.begin, part.end = self._loose_text(part)
            part.kind, part.disposition = ContentType("text/plain", part.kind.parameters), _NO_DISPOSITION

    def _set_aside(self, level: _Level, end: int) -> None:
        if level.loose is not None and level.loose < end:
            self.parts[level.part].aside.append((level.loose, end))
        level.loose = None

    def _loose_text(self, part: Part) -> tuple[int, int]:
        """Return what there is of a multipart without parts."""
        for begin, end in part.aside:
            if self.mail[begin:end].strip():
                return begin, end
        return part.begin, part.end

    def _next_part(self, level: _Level, at: int) -> int:
        # What follows its last delimiter is beside the multipart, not in it.
        level.left = level.left or level.closed
        level.begun, level.closed = True, False
        return self._begin_part(at, self.parts[level.part].parent if level.left else level.part)

    def _begin_part(self, at: int, parent: int) -> int:
        """Add the part at ``at``, and return where its content begins."""
        if len(self.parts) >= MAX_PARTS or len(self._levels) > MAX_DEPTH:
            raise TooComplexError(f"more than {MAX_PARTS} parts, or nested deeper than {MAX_DEPTH}")
        fields, begin = headers.split(self.mail, at, self._is_delimiter)
        digest = parent >= 0 and self.parts[parent].kind.kind == "multipart/digest"
        return self._add(part_of(fields, begin, parent, "message/rfc822" if digest else "text/plain"), at)

    def _add(self, part: Part, at: int) -> int:
        part.start, part.header_end = at, part.begin
        self.parts.append(part)
        if part.is_multipart:
            level = _Level(len(self.parts) - 1, [], loose=part.begin)
            if part.kind.boundary:
                self._declare(level, part.kind.boundary)
            self._levels.append(level)
        else:
            self._leaf = part
        return part.begin


def part_of(fields: Headers, begin: int, parent: int = -1, default: str = "text/plain") -> Part:
    """Return the part with these fields; ``default`` is its type if they give none."""
    named = by_name(fields)
    kind, shown = ContentType(default, {}), _NO_DISPOSITION
    if "content-type" in named or "content-disposition" in named:
        shown = disposition(named.get("content-disposition", ("",))[0])
        kind = _kind_of(named.get("content-type", ("",))[0], shown, default)
    return Part(fields, named, kind, shown, parent, begin)


def _innermost(levels: Sequence[_Level]) -> _Level | None:
    return next((level for level in reversed(levels) if not level.closed), None)


def given_name(disposition: ContentType, kind: ContentType) -> str:
    """Return the file's name that these two fields give, ``""`` if they give none."""
    given = (
        disposition.parameters.get("filename"),
        kind.parameters.get("name"),
        disposition.parameters.get("name"),
        kind.parameters.get("filename"),
    )
    return next(filter(None, given), "")


def _kind_of(value: str, shown: ContentType, default: str) -> ContentType:
    """Return the type that ``value`` gives; if it gives none, what the file name tells, else ``default``."""
    read = content_type(value)
    kind = MISSPELT.get(read.kind, read.kind)
    if not kind or (kind == OCTETS and not value.lstrip().lower().startswith(OCTETS)):
        by_file = kind_by_name(file_names.clean(given_name(shown, read)))
        kind = by_file if kind or by_file != OCTETS else default
    return ContentType(kind, read.parameters)
