"""
The fields of a header block, read as leniently as people read it.

Used by ``parse`` and ``outgoing``, which need all of them; ``head`` finds what is needed before the 250.
Devices write lines into a header that are no fields, forget the blank line, or send no header at all. Any
octets give a result, in linear time. Pure.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Final

from attrs import define, field

from smtprelay.mime.known import is_certain, is_known
from smtprelay.mime.parameters import content_type

#: Octets of a header that the reactor reads; it has fewer fields and lines than are looked at.
SMALL_HEADER: Final = 16 * 1024
#: What is looked at of one header block; beyond it only its end is looked for.
MAX_FIELDS: Final = 5000
MAX_LINES: Final = 10_000
MAX_BLOCK: Final = 1 << 20
#: Lines that are no fields, one behind the other, that may stand in a header; more of them are text.
MAX_SKIPPED: Final = 10

_BOM: Final = b"\xef\xbb\xbf"
#: The name of a field.
NAME: Final = rb"[!#-'*+.-9A-Z^-z|~/-]++"
_NAME: Final = re.compile(rb"(%b)[ \t]*+:" % NAME)
#: A field as RFC 5322 has it, or a character that belongs to none. A name that begins with two hyphens may be
#: a delimiter.
_FIELD: Final = re.compile(
    rf"(?!--)({NAME.decode()})[ \t]*+:[ \t]*+([^\r\n]*+(?:\r\n[ \t][^\r\n]*+)*+)\r\n|[\s\S]"
)
_FOLD: Final = re.compile(r"\r\n[ \t]+")
#: Where a blank line or a line that may be a boundary begins.
_END: Final = re.compile(rb"\n(?=\r?\n|--)")
_PARAMETER: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++[ \t]*+=")
_KNOWN_PARAMETER: Final = re.compile(
    rb"(?:boundary|charset|name|filename|format|delsp|type|start|start-info|report-type|protocol|micalg"
    rb"|method|size|(?:creation|modification|read)-date|x-[a-z-]+)(?:\*[0-9]{0,3}\*?)?[ \t]*=",
    re.IGNORECASE,
)
#: The end of a ``Received`` field (RFC 5321 §4.4): nothing follows its date.
_DATE: Final = re.compile(
    rb"(?:\A|;)[ \t]*(?:[A-Za-z]{3},?[ \t]+)?[0-9]{1,2} [A-Za-z]{3} [0-9]{4} [0-9:]{5,8} [+-][0-9]{4}[ \t]*\Z"
)
_LISTS: Final = frozenset((b"to", b"cc", b"bcc", b"from", b"reply-to"))
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{24,}+={0,2}\r?\n")
_TEXT_ENCODINGS: Final = ("", "7bit", "8bit", "binary", "quoted-printable")


def split(
    octets: bytes, start: int = 0, is_delimiter: Callable[[bytes], bool] | None = None
) -> tuple[list[tuple[str, str]], int]:
    r"""
    Return the fields at ``start`` of a mail or part, and where its content begins.

    Values are unfolded: a line end and the blanks behind it are one blank. Octets that are not ASCII are
    kept by ``surrogateescape``, since only the rest of the mail tells their charset.

    - A line that is no field is skipped, if a known field follows. Behind the last known field it is
      the first line of the text, which a blank line should stand before.
    - A parameter behind a ``Content-`` field belongs to it, also without the blank that folds a line.
    - A blank before the first field folds nothing. The first boundary of a multipart is not in its header.
    - If no field is known, but for the ``Received`` that the relay puts before all, all the rest is text.

    :param is_delimiter: tells of a line that begins with ``--`` whether it ends the part.
    """
    easy = regular(octets, start)
    if easy is not None:
        return easy
    found = _HeaderBlock(octets, start, is_delimiter)
    content = found.read()
    pairs = [
        (name.decode("ascii"), value.decode("ascii", "surrogateescape")) for name, value in found.fields()
    ]
    return pairs, content


def regular(octets: bytes, start: int = 0) -> tuple[list[tuple[str, str]], int] | None:
    """Do as :func:`split` with a header in which nothing has to be judged; ``None``: this is no such one."""
    end = octets.find(b"\r\n\r\n", start, start + SMALL_HEADER)
    fields = None if end < 0 else _regular_fields(octets[start : end + 2])
    return None if fields is None else (list(fields), end + 4)


# Whether a mail is small is found out by its header, and then the mail is read.
@lru_cache(maxsize=2)
def _regular_fields(block: bytes) -> Sequence[tuple[str, str]] | None:
    found = _FIELD.findall(block.decode("ascii", "surrogateescape"))
    if ("", "") in found:
        return None
    own = found[0][0].lower() == "received"
    if own and "\n" in found[0][1]:
        # What follows the date of our own field is the client's, also a line with a blank in front.
        lines = found[0][1].encode("ascii", "surrogateescape").splitlines()
        if any(map(_DATE.search, lines[:-1])):
            return None
    if not any(is_certain(name.lower().encode()) for name, _ in found[own:]):
        return None
    return [(name, (_FOLD.sub(" ", value) if "\n" in value else value).strip(" \t")) for name, value in found]


@define
class _HeaderBlock:
    """One header block while it is read, line by line."""

    octets: bytes = field(repr=False)
    start: int = 0
    is_delimiter: Callable[[bytes], bool] | None = None
    #: Name, and the lines of the value.
    _found: list[tuple[bytes, list[bytes]]] = field(factory=list)
    #: Number of fields up to the last known one, and where that ended.
    _known: int = 0
    _known_end: int = 0
    #: One of them can only be a header's.
    _certain: bool = False
    #: Where the first line stands that is no field, since then; so many fields were before it.
    _text_at: int | None = None
    _kept: int = 0
    _skipped: int = 0
    #: Where what the client sent begins: behind our own Received.
    _client_at: int = 0
    #: The last line belonged to the last field; the next may do so, too.
    _open: bool = False
    #: The boundary that the header itself names, once a line looked like one; looked for in so many fields.
    _boundary: bytes | None = None
    _looked: int = 0

    def fields(self) -> Iterator[tuple[bytes, bytes]]:
        """Give names and unfolded values."""
        for name, lines in self._found:
            yield name, (b" ".join(lines) if len(lines) > 1 else lines[0]).strip(b" \t")

    def read(self) -> int:
        """Read the block, and return where the content begins."""
        octets, at, bound = self.octets, self.start, self.start + MAX_BLOCK
        self._client_at = at
        lines = 0
        while at < len(octets):
            if at > bound or lines >= MAX_LINES or len(self._found) >= MAX_FIELDS:
                return self._beyond(at)
            lines += 1
            end = octets.find(b"\n", at)
            after = end + 1 if end >= 0 else len(octets)
            line = octets[at : min(after, at + MAX_BLOCK)].rstrip(b"\r\n")
            if not line and end >= 0:
                return self._close(after)
            if line.startswith(b"--") and self._ends_at(line):
                return self._close(at, blank=False)
            self._take(line, at, after)
            if self._skipped > MAX_SKIPPED:
                return self._close(at, blank=False)
            at = after
        return self._close(at, blank=False)

    def _ends_at(self, line: bytes) -> bool:
        """Tell whether ``line`` is the delimiter of a part that the header is of, or of one in that."""
        if self.is_delimiter is not None and self.is_delimiter(line):
            return True
        if self._boundary is None:
            self._boundary = self._own_boundary()
        return bool(self._boundary) and line[2:].rstrip(b" \t") == self._boundary

    def _own_boundary(self) -> bytes | None:
        begin, self._looked = self._looked, len(self._found)
        for name, lines in islice(self._found, begin, None):
            if name.lower() == b"content-type":
                return content_type(b" ".join(lines).decode("ascii", "surrogateescape")).boundary
        return None

    def _take(self, line: bytes, at: int, after: int) -> None:
        if self._open and (line[:1] in (b" ", b"\t") or self._is_folded(line)):
            self._found[-1][1].append(line.lstrip(b" \t"))
        elif not self._add(line):
            self._skip(at)
            return
        own = self._is_own_received()
        if own:
            self._client_at = after
            # A line with a blank in front is the client's, once our field has its date.
            self._open = not _DATE.search(self._found[0][1][-1])
        elif self._open and len(self._found) == self._known:
            self._known_end = after

    def _is_own_received(self) -> bool:
        return len(self._found) == 1 and self._found[0][0].lower() == b"received"

    def _add(self, line: bytes) -> bool:
        if line.startswith(_BOM) and not self._known:
            line = line[len(_BOM) :]
        name = _NAME.match(line) or self._indented(line)
        if name is None:
            return False
        self._found.append((name[1], [name.string[name.end() :].lstrip(b" \t")]))
        self._open = True
        if is_known(name[1].lower()) and not self._is_own_received():
            self._known = len(self._found)
            self._certain = self._certain or is_certain(name[1].lower())
            self._text_at, self._skipped = None, 0
        return True

    def _indented(self, line: bytes) -> re.Match[bytes] | None:
        """Find the name in a first line of the header with blanks before it, which can fold nothing."""
        if self._text_at is not None or len(self._found) > self._is_own_received():
            return None
        name = _NAME.match(line.lstrip(b" \t"))
        return name if name is not None and is_known(name[1].lower()) else None

    def _is_folded(self, line: bytes) -> bool:
        """Tell whether ``line`` continues with the last field, though no blank stands before it."""
        name, lines = self._found[-1]
        name, last = name.lower(), lines[-1].rstrip(b" \t")
        if name.startswith(b"content-"):
            if last.endswith(b";"):
                return _PARAMETER.match(line) is not None or _NAME.match(line) is None
            if line.startswith(b";"):
                return True
            if _KNOWN_PARAMETER.match(line):
                lines[-1] = last + b";"
                return True
        return name in _LISTS and last.endswith(b",") and _NAME.match(line) is None

    def _skip(self, at: int) -> None:
        if self._text_at is None:
            self._text_at, self._kept = at, len(self._found)
        self._skipped += 1
        self._open = False

    def _beyond(self, at: int) -> int:
        """Look for the end of a block that has more than is looked at."""
        end = _END.search(self.octets, at - 1)
        while end is not None:
            at = end.start() + 1
            after = self.octets.find(b"\n", at) + 1 or len(self.octets)
            line = self.octets[at:after].rstrip(b"\r\n")
            if not line:
                return self._close(after)
            if self.is_delimiter is not None and self.is_delimiter(line):
                return self._close(at, blank=False)
            end = _END.search(self.octets, at)
        return self._close(at, blank=False)

    def _close(self, content: int, *, blank: bool = True) -> int:
        """Decide which fields there are, now that all were seen, and return where the content begins."""
        if not self._certain:
            return self._without_header(content)
        if self._text_at is not None and not (blank and self._is_encoded(self._text_at)):
            del self._found[self._kept :]
            return self._text_at
        if not blank and self._text_at is None:
            # Without the blank line, what is not known may be all the text that there is.
            del self._found[self._known :]
            return self._known_end
        return content

    def _without_header(self, content: int) -> int:
        if self._text_at is None and len(self._found) == self._is_own_received():
            return content
        del self._found[int(bool(self._found) and self._found[0][0].lower() == b"received") :]
        return self._client_at

    def _is_encoded(self, text_at: int) -> bool:
        """Tell whether a line of text, as the one at ``text_at`` seems to be, would break the content."""
        named = {name.lower(): b" ".join(lines).strip().lower() for name, lines in self._found}
        kind = named.get(b"content-type", b"text")
        encoding = named.get(b"content-transfer-encoding", b"").decode("latin-1")
        if kind.startswith((b"text", b"multipart")) and encoding in _TEXT_ENCODINGS:
            return False
        return not (encoding.startswith("base64") and _BASE64.match(self.octets, text_at))
