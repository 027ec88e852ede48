"""
The parts of a mail, gone through once, and what is to be done with each of them before it leaves.

A part is encoded that has octets or lines which the next hop does not take; nothing else of the mail changes
but the fields that say so. What is signed is never changed. What is a part, and of what type, ``structure``
tells, as it does for readers of the mail. Pure.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Final

from attrs import evolve, frozen

from smtprelay.mime.charset import html_charset, known, label_for
from smtprelay.mime.charset.labels import ASCII, codec_of
from smtprelay.mime.controls import holds_controls
from smtprelay.mime.outgoing.encoders import encoded
from smtprelay.mime.outgoing.field_changes import UNCHANGED, Changes, finished_part, header_of
from smtprelay.mime.outgoing.header_fields import NO_CONVERSION, FieldOptions, NotConvertible
from smtprelay.mime.outgoing.plan import PlanDraft
from smtprelay.mime.parameters import ContentType, content_type
from smtprelay.mime.parse import charset_guess, text_beside_parts, texts_beside
from smtprelay.mime.structure import MAX_DEPTH, Part, TooComplexError, parts_of
from smtprelay.mime.text import by_name
from smtprelay.mime.transfer_encoding import Encoding, base64_blocks, decode
from smtprelay.model.route import NextHop
from smtprelay.model.shape import Shape, shape_of

_SIGNED: Final = "multipart/signed"
_MESSAGES: Final = frozenset({"message/rfc822", "message/global", "message/news"})
#: One octet of this many may need escaping: the text is still readable, and about as long as in base64.
_ESCAPES: Final = 4


@frozen
class _WalkedMail:
    """
    The mail, or one within it.

    :ivar base: where it begins in the mail.
    :ivar depth: in how many mails it lies.
    """

    octets: bytes
    base: int
    depth: int
    parts: Sequence[Part]

    @cached_property
    def guess(self) -> str:
        """The charset of octets without a declared charset."""
        return charset_guess(self.octets, self.parts)

    def places(self) -> Iterator[tuple[int, int, Part | None]]:
        """Give where parts, headers of multiparts, and texts beside parts (``None``) lie, in order."""
        found = [
            (part.start, part.header_end if part.is_multipart else part.last, part) for part in self.parts
        ]
        beside = [(begin, end, None) for begin, end in texts_beside(self.parts)]
        yield from sorted([*found, *beside], key=lambda place: place[0])


class PartsWalk:
    """
    Plans the content of one mail.

    :param options: for the fields of parts.
    :param finish: called first, with the changes to the mail's own header; plans that header.
    """

    def __init__(
        self, draft: PlanDraft, hop: NextHop, options: FieldOptions, finish: Callable[[Changes], None]
    ) -> None:
        self._is_ascii = draft.octets.isascii()
        self._draft = draft
        self._hop = hop
        self._options = options
        self._finish = finish

    def run(self, content: int) -> None:
        """
        Go through the mail, whose content begins at ``content``.

        :raises NotConvertible: something has to be encoded that must not be.
        """
        try:
            self._plan_mail(self._draft.octets)
        except TooComplexError as error:
            self._check_fixed(self._draft.octets[content:], f"a mail with {error}")
            self._finish(UNCHANGED)

    def _plan_mail(self, octets: bytes, base: int = 0, depth: int = 0) -> None:
        mail = _WalkedMail(octets, base, depth, self._parts_as_shown(octets))
        at = 0
        for begin, end, part in mail.places():
            if begin < at:
                continue  # within what was planned as one
            self._plan_delimiters(mail, at, begin)
            at = end
            if part is None:
                self._plan_aside(mail, begin, end)
            elif not part.is_multipart:
                self._plan_leaf(mail, part)
            elif part.kind.kind == _SIGNED:
                self._check_fixed(octets[part.header_end : part.last], "a signed part")
                self._finish_header(mail, part, UNCHANGED, ends=False)
                at = part.last
            else:
                self._finish_header(mail, part, self._changes_around(part), ends=False)
        self._plan_delimiters(mail, at, len(octets))

    def _parts_as_shown(self, octets: bytes) -> Sequence[Part]:
        """Return the parts of a mail; if it shows nothing but a text beside them, it is that text."""
        parts = parts_of(octets)
        strange = not all(self._hop.takes(shape_of(octets[begin:end])) for begin, end in texts_beside(parts))
        shown = text_beside_parts(octets, parts) if strange else None
        if shown is None:
            return parts
        begin, end = shown
        headers = [each for each in parts[0].headers if each[0].lower() != "content-transfer-encoding"]
        kind = ContentType("text/plain", {})
        return [
            evolve(
                parts[0],
                headers=headers,
                named=by_name(headers),
                kind=kind,
                begin=begin,
                end=end,
                last=len(octets),
                aside=[],
            )
        ]

    def _plan_leaf(self, mail: _WalkedMail, part: Part) -> None:
        content = mail.octets[part.begin : part.end]
        is_whole = (part.begin, part.end) == (part.header_end, part.last)
        shape = shape_of(content if is_whole else mail.octets[part.header_end : part.last])
        encoding = part.encoding(content)
        is_refused = encoding == "quoted-printable" and not self._hop.quoted_printable
        if self._hop.takes(shape) and not is_refused:
            self._finish_header(mail, part, UNCHANGED, ends=False)
            return
        if encoding == "7bit" and part.kind.kind in _MESSAGES:
            self._finish_header(mail, part, self._changes_around(part))
            if mail.depth >= MAX_DEPTH:
                raise self._fixed(shape, f"a mail within more than {MAX_DEPTH} others")
            self._plan_mail(content, mail.base + part.begin, mail.depth + 1)
        elif encoding == "7bit":
            changes = self._changes(mail, part, content, shape)
            self._finish_header(mail, part, changes)
            self._encode(mail, part, changes.encoding, part.end)
        else:
            self._plan_encoded(mail, part, content, encoding)

    def _plan_encoded(self, mail: _WalkedMail, part: Part, content: bytes, encoding: Encoding) -> None:
        """Plan what is encoded already, but in lines that are too long, or with raw octets in them."""
        blocks = base64_blocks(content) if encoding == "base64" else ()
        kind = _kind_of_text(part)
        if len(blocks) == 1 or (encoding == "quoted-printable" and self._hop.quoted_printable):
            self._finish_header(mail, part, Changes(encoding=encoding, kind=kind) if kind else UNCHANGED)
            end = part.begin + len(blocks[0]) if blocks else part.end
            self._encode(mail, part, f"wrap-{encoding}", end)
            return
        self._finish_header(mail, part, Changes(encoding="base64", kind=kind))
        self._draft.insert(encoded("base64", decode(content, encoding)))
        self._end_leaf(mail, part, is_base64=True)

    def _encode(self, mail: _WalkedMail, part: Part, step: str, end: int) -> None:
        self._draft.drop(mail.base + part.begin)
        self._draft.encode(step, mail.base + end)
        self._end_leaf(mail, part, is_base64="base64" in step)

    def _end_leaf(self, mail: _WalkedMail, part: Part, *, is_base64: bool) -> None:
        self._draft.drop(mail.base + part.last)
        if is_base64 and mail.base + part.last == len(self._draft.octets):
            self._draft.insert(b"\r\n")

    def _plan_aside(self, mail: _WalkedMail, begin: int, end: int) -> None:
        """Plan the preamble and the epilogue, which no reader shows."""
        self._draft.keep(mail.base + begin)
        if not self._hop.takes(shape_of(mail.octets[begin:end])):
            self._draft.drop(mail.base + end)

    def _plan_delimiters(self, mail: _WalkedMail, begin: int, end: int) -> None:
        """Plan the delimiters between two parts: blanks behind them may make a line too long."""
        lines = mail.octets[begin:end]
        if not self._hop.takes(shape_of(lines)):
            lines = b"\r\n".join(map(bytes.rstrip, lines.split(b"\r\n")))
            self._check_fixed(lines, "a boundary")
            self._draft.keep(mail.base + begin)
            self._draft.insert(lines)
            self._draft.drop(mail.base + end)

    def _finish_header(self, mail: _WalkedMail, part: Part, changes: Changes, *, ends: bool = True) -> None:
        if part is mail.parts[0] and not mail.depth:
            self._finish(changes)
            self._draft.keep(part.header_end)
            return
        octets = mail.octets[part.start : part.header_end]
        options = evolve(self._options, kind=part.kind.kind)
        if not octets.isascii():
            options = evolve(options, guess=mail.guess)
        header = finished_part(header_of(octets, part.headers), octets, options, changes, ends=ends)
        self._draft.keep(mail.base + part.start)
        if header is not None:
            self._draft.insert(header)
            self._draft.drop(mail.base + part.header_end)
        else:
            self._draft.keep(mail.base + part.header_end)

    def _changes_around(self, part: Part) -> Changes:
        """Return the changes to what has other parts in it: nothing in it is 8-bit any more."""
        was = part.first("content-transfer-encoding").lower()
        labelled = was in ("8bit", "binary") and not self._hop.eight_bit and not self._is_ascii
        return Changes(encoding="7bit") if labelled else UNCHANGED

    def _changes(self, mail: _WalkedMail, part: Part, content: bytes, shape: Shape) -> Changes:
        kind = part.kind.kind
        is_text = kind.startswith(("text/", "message/"))
        escapes = shape.eight_bit + content.count(b"=")
        is_short = escapes * _ESCAPES <= len(content) and not holds_controls(content)
        quoted = self._hop.quoted_printable and is_text and is_short
        declared = content_type(part.first("content-type")).kind
        return Changes(
            encoding="quoted-printable" if quoted else "base64",
            charset=_charset(mail, part, content, shape) if kind.startswith("text/") else "",
            kind="" if declared == kind else kind,
        )

    def _check_fixed(self, octets: bytes, what: str) -> None:
        shape = shape_of(octets)
        if not self._hop.takes(shape):
            raise self._fixed(shape, what)

    def _fixed(self, shape: Shape, what: str) -> NotConvertible:
        why = "lines too long for SMTP"
        if shape.eight_bit and not self._hop.eight_bit:
            why = "8-bit content, and the server lacks 8BITMIME"
        return NotConvertible(f"{what} cannot be encoded: it has {why}", NO_CONVERSION)


def _kind_of_text(part: Part) -> str:
    """Return the type of a multipart in which no part begins, ``""`` for any other part."""
    is_multipart = content_type(part.first("content-type")).kind.startswith("multipart/")
    return part.kind.kind if is_multipart else ""


def _charset(mail: _WalkedMail, part: Part, content: bytes, shape: Shape) -> str:
    """Return the label of a text that has none, or one that says nothing; else ``""``."""
    given = part.kind.parameters.get("charset", "")
    if not shape.eight_bit:
        return "" if given or part.first("content-type") else "us-ascii"
    if codec_of(given) not in (None, ASCII):
        return ""
    meta = html_charset(content) if part.kind.kind == "text/html" else ""
    return meta if known(meta) else label_for(content, mail.guess)
