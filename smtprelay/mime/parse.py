"""
A mail taken apart, for providers that take no MIME: texts, attachments, addresses, headers.

Scanners, scripts and broken programs send mail, so reading never fails over content: an unknown or wrong
charset, broken base64 or a message without any header yield the best text there is. Only a structure made to
cost time, with more parts or deeper ones than ``structure`` takes, is refused. Pure.
"""

import binascii
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from attrs import define, field, frozen

from smtprelay.mime import charset, headers, transfer_encoding
from smtprelay.mime import file_names as files
from smtprelay.mime.address import Address, addresses
from smtprelay.mime.controls import in_lines
from smtprelay.mime.kinds import extension_for
from smtprelay.mime.markup import Piece, as_document, as_text
from smtprelay.mime.parameters import content_type, disposition
from smtprelay.mime.structure import MAX_DEPTH, MAX_PARTS, Part, TooComplexError, given_name, parts_of
from smtprelay.mime.text import by_name, charsets_in, decoded, guess_of

__all__ = ["MAX_DEPTH", "MAX_PARTS", "Attachment", "Mail", "TooComplexError", "read"]

#: A charset that says nothing of octets that are not ASCII, under its names.
_ASCII: Final = frozenset(("", "ascii", "us-ascii"))
#: Texts by name, that are made for programs.
_FILES: Final = frozenset(
    ("calendar", "css", "csv", "directory", "javascript", "rfc822-headers", "rtf", "vcard", "x-vcard", "xml")
)


@frozen
class Attachment:
    """
    A part that is no text of the mail.

    :ivar name: a file name without folders and control characters, never empty.
    :ivar content_type: in lower case, without parameters.
    :ivar base64: byte for byte what was attached, in base64 without line ends: most came so and leave so.
    :ivar content_id: without angle brackets, ``""`` for none.
    """

    name: str
    content_type: str
    base64: bytes = field(repr=False)
    content_id: str = ""


@frozen(kw_only=True)
class Mail:
    """
    What a mail says, whatever its structure was.

    :ivar headers: all of them in order, (name, value) unfolded; RFC 2047 words as they came.
    :ivar subject: decoded; ``""`` if there is none.
    :ivar text: the plain text, ``None`` if the mail has none; the same for ``html``. Of control characters
        they have tab, CR and LF alone.
    """

    headers: Sequence[tuple[str, str]]
    subject: str = ""
    sender: Sequence[Address] = ()
    reply_to: Sequence[Address] = ()
    to: Sequence[Address] = ()
    cc: Sequence[Address] = ()
    text: str | None = None
    html: str | None = None
    attachments: Sequence[Attachment] = ()


def read(body: bytes) -> Mail:
    """
    Take a stored message apart.

    :raises TooComplexError: more than :data:`MAX_PARTS` parts, or deeper than :data:`MAX_DEPTH`.
    """
    reader = _PartReader(body, parts_of(body))
    reader.run()
    whole, guess = reader.parts[0], reader.guess
    named = whole.named
    return Mail(
        headers=[
            (name, value if value.isascii() else _unescaped(value, guess)) for name, value in whole.headers
        ],
        subject=decoded(whole.first("subject"), guess),
        sender=addresses(named.get("from", ()), guess),
        reply_to=addresses(named.get("reply-to", ()), guess),
        to=addresses(named.get("to", ()), guess),
        cc=addresses(named.get("cc", ()), guess),
        text=reader.text,
        html=reader.html,
        attachments=reader.attachments,
    )


def charset_guess(body: bytes, parts: Sequence[Part]) -> str:
    """Return the charset that :func:`read` assumes for octets without a declared one, if any."""
    reader = _PartReader(body, parts)
    reader.choose()
    return reader.guess


def texts_beside(parts: Sequence[Part]) -> Iterator[tuple[int, int]]:
    """Give where the text before the first and behind the last part of each multipart is."""
    return chain.from_iterable(part.aside for part in parts)


def text_beside_parts(body: bytes, parts: Sequence[Part]) -> tuple[int, int] | None:
    """Return where the text is that :func:`read` finds beside the parts, if it finds nothing in these."""
    reader = _PartReader(body, parts)
    reader.run()
    return None if reader.attachments else reader.aside


def _unescaped(value: str, guess: str) -> str:
    """Return a header's value with its octets decoded that are not ASCII."""
    return charset.decode(value.encode("ascii", "surrogateescape"), "", guess)


@frozen
class _TextBlock:
    """One text of a mail: plain, as HTML, or both of them as alternatives; each in pieces."""

    plain: Sequence[Piece] = ()
    html: Sequence[Piece] = ()

    @property
    def text_pieces(self) -> Sequence[Piece]:
        """What readers of plain text get."""
        return self.plain or self.html

    @property
    def html_pieces(self) -> Sequence[Piece]:
        """What readers of HTML get."""
        return self.html or self.plain


@define
class _PartReader:
    """Tells what the parts of a mail mean: texts or attachments, in their order."""

    body: bytes = field(repr=False)
    parts: Sequence[Part]
    #: The charset that the mail's texts or header name first, for octets without a declared one.
    guess: str = ""
    text: str | None = None
    html: str | None = None
    attachments: list[Attachment] = field(factory=list)
    #: Where the text stands, if that is beside the parts.
    aside: tuple[int, int] | None = None
    #: The places of the parts that are texts, with their decoded content; and the charsets that these name.
    _texts: dict[int, bytes] = field(factory=dict)
    _charsets: dict[int, str] = field(factory=dict)

    def run(self) -> None:
        leaves = self.choose()
        if len(self.parts) == 1 and self._texts:
            text = self._text(0)
            if not _is_blank(text):
                self.text, self.html = (None, text) if self._is_html(0) else (text, None)
                return
        self._join(self._blocks())
        for n in self._without_resource_forks(leaves):
            if n not in self._texts:
                self._attach(self.parts[n])
        if self.text is None and self.html is None and not any(each.base64 for each in self.attachments):
            self.text = self._aside()
        if self.text is None and self.html is None and self._texts:
            self.text = ""

    def choose(self) -> Sequence[int]:
        """Find the texts, and what charset they are in; return the places of all parts without parts."""
        leaves = [n for n, part in enumerate(self.parts) if not part.is_multipart]
        self._texts = {n: self._content(self.parts[n]) for n in self._choose(leaves)}
        self._charsets = {n: self._charset(n) for n in self._texts}
        self.guess = guess_of(chain(self._charsets.values(), charsets_in(self.parts[0].headers)))
        return leaves

    def _choose(self, leaves: Sequence[int]) -> Sequence[int]:
        open_ones = [n for n in leaves if self.parts[n].disposition.kind != "attachment"]
        written = [n for n in open_ones if self.parts[n].kind.kind in ("text/plain", "text/html")]
        if len(written) > 1:
            written = [n for n in written if self._is_plainly_text(n)] or written[:1]
        return written or [n for n in open_ones if _is_unknown_text(self.parts[n])][:1]

    def _is_plainly_text(self, n: int) -> bool:
        part = self.parts[n]
        parent = self.parts[part.parent].kind.kind if part.parent >= 0 else ""
        # What is shown is the first of what is related; the others may be shown within it.
        if parent == "multipart/alternative" or (parent == "multipart/related" and part.parent == n - 1):
            return True
        within = parent == "multipart/related" and (
            part.first("content-id") or part.first("content-location")
        )
        return not (part.file_name or within)

    def _without_resource_forks(self, leaves: Sequence[int]) -> Sequence[int]:
        """Leave out what only a Mac reads of a file (RFC 1740), if the file itself is there."""
        forks = {n for n in leaves if self.parts[n].kind.kind == "application/applefile"}
        files = {self.parts[n].parent for n in leaves if n not in forks}
        doubles = {n for n in files if self.parts[n].kind.kind == "multipart/appledouble"}
        return [n for n in leaves if n not in forks or self.parts[n].parent not in doubles]

    def _content(self, part: Part) -> bytes:
        content = self.body[part.begin : part.end]
        if "content-transfer-encoding" not in part.named:
            return content
        return transfer_encoding.decode(content, part.encoding(content))

    def _is_html(self, n: int) -> bool:
        return self.parts[n].kind.kind == "text/html"

    def _charset(self, n: int) -> str:
        """Return the charset that a text names, in its type or itself; ``""`` for none."""
        kind = self.parts[n].kind
        label = kind.parameters.get("charset", "").strip().lower()
        if kind.kind == "text/html" and (label in _ASCII or not charset.known(label)):
            label = charset.html_charset(self._texts[n]).lower()
        return "" if label in _ASCII else label

    def _text(self, n: int) -> str:
        return in_lines(charset.decode(self._texts[n], self._charsets[n], self.guess))

    def _block(self, n: int) -> Sequence[_TextBlock]:
        piece = Piece(self._text(n), self._is_html(n))
        if _is_blank(piece.text):
            return ()
        return (_TextBlock(html=(piece,)) if piece.is_html else _TextBlock(plain=(piece,)),)

    def _blocks(self) -> Sequence[_TextBlock]:
        """Return the texts that are not blank; backwards, for a multipart comes before what is in it."""
        within: dict[int, list[Sequence[_TextBlock]]] = {}
        for n in range(len(self.parts) - 1, -1, -1):
            inner = within.pop(n, [])[::-1]
            blocks: Sequence[_TextBlock]
            if n in self._texts:
                blocks = self._block(n)
            elif self.parts[n].kind.kind == "multipart/alternative":
                blocks = _alternatives(inner)
            else:
                blocks = [block for each in inner for block in each]
            if blocks:
                within.setdefault(self.parts[n].parent, []).append(blocks)
        return [block for each in within.pop(-1, [])[::-1] for block in each]

    def _join(self, blocks: Sequence[_TextBlock]) -> None:
        if any(block.html for block in blocks):
            self.html = as_document([piece for block in blocks for piece in block.html_pieces])
        if any(block.plain for block in blocks):
            pieces = [piece for block in blocks for piece in block.text_pieces]
            text = as_text(pieces)
            # What markup spells may be a control, too.
            self.text = in_lines(text) if any(piece.is_html for piece in pieces) else text

    def _attach(self, part: Part) -> None:
        content = self.body[part.begin : part.end]
        if (encoding := part.encoding(content)) == "base64":
            base64 = transfer_encoding.tidy_base64(content)
        else:
            base64 = binascii.b2a_base64(transfer_encoding.decode(content, encoding), newline=False)
        content_id = decoded(part.first("content-id"), self.guess).strip().strip("<>")
        name = files.clean(self._given_name(part)) or self._made_name(part)
        self.attachments.append(Attachment(name, part.kind.kind, base64, content_id))

    def _given_name(self, part: Part) -> str:
        shown, kind = part.first("content-disposition"), part.first("content-type")
        if shown.isascii() and kind.isascii():
            return part.file_name
        return given_name(disposition(shown, self.guess), content_type(kind, self.guess))

    def _made_name(self, part: Part) -> str:
        kind, stem = part.kind.kind, ""
        if kind in ("message/rfc822", "message/global"):
            fields, _ = headers.split(self._content(part))
            stem = files.from_title(decoded(by_name(fields).get("subject", ("",))[0], self.guess))
        return (stem or f"attachment-{len(self.attachments) + 1}") + extension_for(kind)

    def _aside(self) -> str | None:
        for begin, end in texts_beside(self.parts):
            text = in_lines(charset.decode(self.body[begin:end], "", self.guess))
            if text.strip():
                self.aside = begin, end
                return text
        return None


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _alternatives(inner: Sequence[Sequence[_TextBlock]]) -> Sequence[_TextBlock]:
    """Make one text of several that say the same: HTML of those that have it, plain text of the others."""
    rich = [block for blocks in inner if any(each.html for each in blocks) for block in blocks]
    poor = [block for blocks in inner if not any(each.html for each in blocks) for block in blocks]
    plain = [piece for block in poor for piece in block.plain]
    if not poor and any(block.plain for block in rich):
        plain = [piece for block in rich for piece in block.text_pieces]
    block = _TextBlock(plain, [piece for block in rich for piece in block.html_pieces])
    return [block] if block.plain or block.html else ()


def _is_unknown_text(part: Part) -> bool:
    kind, _, subtype = part.kind.kind.partition("/")
    return kind == "text" and subtype not in _FILES and not part.file_name
