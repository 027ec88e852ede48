"""
The parts of a mail, gone through once, and what is to be done with each of them before it leaves.

A part is encoded that has octets or lines which the next hop does not take; nothing else of the mail changes
but the fields that say so. What is signed is never changed. The walk goes from delimiter to delimiter
without recursion, so that no structure costs more than its octets. Pure.
"""

from collections.abc import Callable, Mapping
from typing import Final

from attrs import field, frozen

from smtprelay.mime.charset import fits, html_charset, known
from smtprelay.mime.outgoing.encoders import Base64Encoder
from smtprelay.mime.outgoing.fields import FieldRules, NotConvertible
from smtprelay.mime.outgoing.header import UNCHANGED, Changes, Header, finished_part, read
from smtprelay.mime.outgoing.plan import NextHop, PlanDraft
from smtprelay.mime.text import content_type
from smtprelay.mime.transfer import encoding_of, from_uuencode, is_no_base64
from smtprelay.model.shape import LONGEST_LINE, Shape, shape_of

#: What lies behind so many parts is not taken apart.
MAX_PARTS: Final = 1000
#: What lies in so many multiparts is not taken apart either.
MAX_DEPTH: Final = 50
#: A longer boundary is not recognised.
LONGEST_BOUNDARY: Final = 500

#: Conversion required but not supported (RFC 3463 §3.7).
_NO_CONVERSION: Final = "5.6.3"
_SIGNED: Final = "multipart/signed"
_MESSAGES: Final = frozenset({"message/rfc822", "message/global", "message/news"})
_ASCII_LABELS: Final = frozenset({"", "us-ascii", "ascii", "ansi_x3.4-1968", "iso-ir-6", "646"})
_WRAPPERS: Final[Mapping[str, str]] = {
    "base64": "wrap-base64",
    "quoted-printable": "wrap-quoted-printable",
}
#: Octets that no text has: tab, line feed, form feed, carriage return and escape are in some.
_CONTROLS: Final = bytes(set(range(32)) - {9, 10, 12, 13, 27}) + b"\x7f"
#: With one octet of so many to be escaped a text is still readable, and about as long as in base64.
_ESCAPES: Final = 4


@frozen(kw_only=True)
class _Part:
    """A part, or the mail itself; ``kind`` and ``parameters`` are those of its Content-Type."""

    start: int
    header: Header
    kind: str
    parameters: Mapping[str, str] = field(repr=False)
    encoding: str
    main: bool = False


@frozen
class _Delimiter:
    """A line between two parts; ``begin`` is where the line end before it stands, which belongs to it."""

    begin: int
    start: int
    after: int
    level: int
    closes: bool


class PartsWalk:
    """
    Plans the content of one mail.

    :param rules: for the fields of parts.
    :param finish: is told of the changes to the mail's own header, before all else, and plans that header.
    """

    def __init__(
        self, draft: PlanDraft, hop: NextHop, rules: FieldRules, finish: Callable[[Changes], None]
    ) -> None:
        self._octets = draft.octets
        self._is_ascii = draft.octets.isascii()
        self._draft = draft
        self._hop = hop
        self._rules = rules
        self._finish = finish
        #: From the outermost multipart that is open to the innermost: its boundary and type.
        self._open: list[tuple[bytes, str]] = []
        self._levels: dict[bytes, int] = {}

    def run(self, header: Header) -> None:
        """
        Go through the mail, from its header to its end.

        :raises NotConvertible: something has to be encoded that must not be.
        """
        part: _Part | None = self._part(header, 0, main=True)
        count = 0
        while part is not None:
            count += 1
            if count > MAX_PARTS:
                self._check_fixed(part.start, len(self._octets), f"what is behind {MAX_PARTS} parts")
                return
            part = self._take(part)

    def _take(self, part: _Part) -> _Part | None:
        """Plan a part, and return the one behind it, or the first one in it."""
        if part.encoding == "7bit" and part.kind in _MESSAGES:
            self._finish_header(part, self._changes_around(part))
            return self._part(self._read(part.header.content), part.header.content)
        begin = part.header.content
        boundary = self._boundary(part)
        if boundary:
            self._resize([*self._open, (boundary, part.kind)])
            found = self._next(begin)
            if found is not None and found.level == len(self._open) - 1:
                self._finish_header(part, self._changes_around(part))
                self._plan_gap(begin, found.begin)
                return self._behind(found)
            self._resize(self._open[:-1])
        found = self._next(begin)
        self._plan_leaf(part, begin, len(self._octets) if found is None else max(found.begin, begin))
        return self._behind(found)

    def _behind(self, found: _Delimiter | None) -> _Part | None:
        """Return the part behind a delimiter."""
        while found is not None:
            self._plan_delimiter(found)
            self._resize(self._open[: found.level + 1])
            if not found.closes:
                default = "message/rfc822" if self._open[-1][1] == "multipart/digest" else "text/plain"
                return self._part(self._read(found.after), found.after, default)
            # More of its parts may come behind the last delimiter: it stays open until an outer one ends.
            following = self._next(found.after)
            self._plan_gap(found.after, len(self._octets) if following is None else following.begin)
            found = following
        return None

    # --- what there is

    def _part(self, header: Header, start: int, default: str = "text/plain", *, main: bool = False) -> _Part:
        typed = content_type(header.value(b"content-type"), self._rules.guess)
        return _Part(
            start=start,
            header=header,
            kind=typed.kind or default,
            parameters=typed.parameters,
            encoding=encoding_of(header.value(b"content-transfer-encoding")),
            main=main,
        )

    def _read(self, start: int) -> Header:
        return read(self._octets, start, lambda line: self._level_of(line[2:].rstrip()) is not None)

    def _boundary(self, part: _Part) -> bytes:
        """Return the boundary between the parts in ``part``, ``b""`` if it is not to be taken apart."""
        if not part.kind.startswith("multipart/") or part.kind == _SIGNED or part.encoding != "7bit":
            return b""
        boundary = part.parameters.get("boundary", "").encode("utf-8", "surrogateescape").rstrip()
        if not boundary.isascii() and not self._hop.eight_bit:
            raise NotConvertible(
                "its boundary is not ASCII, and the server takes no 8-bit mail", _NO_CONVERSION
            )
        usable = len(boundary) <= LONGEST_BOUNDARY and len(self._open) < MAX_DEPTH
        return boundary if usable else b""

    def _resize(self, boundaries: list[tuple[bytes, str]]) -> None:
        if boundaries != self._open:
            self._open = boundaries
            self._levels = {boundary: level for level, (boundary, _) in enumerate(boundaries)}

    def _level_of(self, line: bytes) -> tuple[int, bool] | None:
        """Return whose delimiter a line is (of several the innermost), and if it is the last one."""
        if line in self._levels:
            return self._levels[line], False
        if line.endswith(b"--") and line[:-2] in self._levels:
            return self._levels[line[:-2]], True
        return None

    def _next(self, at: int) -> _Delimiter | None:
        """Return the first delimiter from ``at`` on, where a line begins."""
        octets = self._octets
        if not self._levels:
            return None
        line_end = at - 1
        while (line_end := octets.find(b"\n--", line_end)) >= 0:
            start, after = line_end + 1, octets.find(b"\n", line_end + 1) + 1 or len(octets)
            found = self._level_of(octets[start + 2 : after].rstrip())
            if found is not None:
                begin = line_end - (octets[line_end - 1 : line_end] == b"\r")
                return _Delimiter(max(begin, at), start, after, *found)
            line_end = after - 1
        return None

    # --- what is done with it

    def _finish_header(self, part: _Part, changes: Changes) -> None:
        if part.main:
            self._finish(changes)
            return
        octets = self._octets[part.start : part.header.content]
        header = finished_part(part.header, octets, self._rules, changes)
        if header is not None:
            self._draft.keep(part.start)
            self._draft.insert(header)
            self._draft.drop(part.header.content)

    def _changes_around(self, part: _Part) -> Changes:
        """Return the changes to what has other parts in it: nothing in it is 8-bit any more."""
        was = part.header.value(b"content-transfer-encoding").strip().lower()
        labelled = was in ("8bit", "binary") and not self._hop.eight_bit and not self._is_ascii
        return Changes(encoding="7bit") if labelled else UNCHANGED

    def _plan_leaf(self, part: _Part, begin: int, end: int) -> None:
        content = self._octets[begin:end]
        shape = shape_of(content)
        if not self._needs_work(shape):
            self._finish_header(part, UNCHANGED)
            return
        if part.kind == _SIGNED or len(self._open) >= MAX_DEPTH:
            self._check_fixed(
                begin, end, "a signed part" if part.kind == _SIGNED else "a part deep in others"
            )
        if part.encoding == "x-uuencode":
            self._plan_unpacked(part, begin, end)
            return
        plain = part.kind.startswith("text/") and is_no_base64(content)
        wrapper = None if plain and part.encoding == "base64" else _WRAPPERS.get(part.encoding)
        changes = UNCHANGED if wrapper else _changes(part, content, shape, self._rules.guess)
        self._finish_header(part, changes)
        self._draft.keep(begin)
        self._draft.encode(wrapper or changes.encoding, end)
        if end == len(self._octets) and "base64" in (part.encoding, changes.encoding):
            self._draft.insert(b"\r\n")

    def _plan_unpacked(self, part: _Part, begin: int, end: int) -> None:
        """Plan uuencode with a name beyond ASCII or long lines: what it holds becomes base64."""
        encoder = Base64Encoder()
        letters = encoder.feed(from_uuencode(self._octets[begin:end])) + encoder.end()
        self._finish_header(part, Changes(encoding="base64"))
        self._draft.keep(begin)
        self._draft.insert(letters + b"\r\n" * (end == len(self._octets)))
        self._draft.drop(end)

    def _plan_gap(self, begin: int, end: int) -> None:
        """Plan what stands before the first part or behind the last one, where nobody reads it."""
        if end > begin and self._needs_work(shape_of(self._octets[begin:end])):
            self._draft.keep(begin)
            self._draft.drop(end)

    def _plan_delimiter(self, found: _Delimiter) -> None:
        if found.after - found.start > LONGEST_LINE:
            self._draft.keep(found.start)
            self._draft.insert(self._octets[found.start : found.after].rstrip() + b"\r\n")
            self._draft.drop(found.after)

    def _check_fixed(self, begin: int, end: int, what: str) -> None:
        shape = shape_of(self._octets[begin:end])
        if self._needs_work(shape):
            why = (
                "8-bit content, and the server lacks 8BITMIME"
                if shape.eight_bit
                else "lines too long for SMTP"
            )
            raise NotConvertible(f"{what} cannot be encoded: it has {why}", _NO_CONVERSION)

    def _needs_work(self, shape: Shape) -> bool:
        return shape.long_lines or (shape.eight_bit > 0 and not self._hop.eight_bit)


def _changes(part: _Part, content: bytes, shape: Shape, guess: str) -> Changes:
    """Return how the content of a part is encoded that is not encoded yet."""
    # A multipart in which its boundary does not occur is all text.
    is_all_text = part.kind.startswith("multipart/")
    is_text = is_all_text or part.kind.startswith(("text/", "message/"))
    escapes = shape.eight_bit + content.count(b"=")
    quoted = (
        is_text
        and escapes * _ESCAPES <= len(content)
        and len(content.translate(None, _CONTROLS)) == len(content)
    )
    missing = b"content-type" not in part.header.names
    return Changes(
        encoding="quoted-printable" if quoted else "base64",
        charset=_charset(part, content, shape, guess)
        if is_text and not part.kind.startswith("message/")
        else "",
        kind="text/plain" if is_all_text or missing else "",
    )


def _charset(part: _Part, content: bytes, shape: Shape, guess: str) -> str:
    """Return the label of a text that has none, or one that says nothing; else ``""``."""
    given = part.parameters.get("charset", "").strip().lower()
    if not shape.eight_bit:
        return "" if b"content-type" in part.header.names else "us-ascii"
    if given not in _ASCII_LABELS and known(given):
        return ""
    meta = html_charset(content) if part.kind == "text/html" else ""
    if known(meta):
        return meta
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return guess if guess and fits(content, guess) else "windows-1252"
    return "utf-8"
