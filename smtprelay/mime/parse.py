r"""
A mail taken apart, for providers that take no MIME: texts, attachments, addresses, headers.

Relays meet mail from scanners, scripts and broken programs. So this reading never
fails over content: an unknown or wrong charset, broken base64 or a message without
any header yield the best text there is. What it does refuse is a structure made to
cost time: it splits by searching for boundaries, so the cost is that of a few passes
over the bytes, and depth and number of parts are bounded.
"""

import binascii
import quopri
import re
from collections.abc import Iterator, Mapping, Sequence
from email.message import Message
from typing import Final

from attrs import define, field, frozen

from smtprelay.mime.text import (
    Address,
    addresses,
    by_name,
    decoded,
    from_base64,
    split_headers,
    text_of,
    tidy_base64,
)

MAX_DEPTH: Final = 30
MAX_PARTS: Final = 1000

_EXTENSIONS: Final = {
    "application/pdf": ".pdf",
    "application/pgp-signature": ".asc",
    "application/pkcs7-signature": ".p7s",
    "image/gif": ".gif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/tiff": ".tif",
    "message/delivery-status": ".txt",
    "message/global": ".eml",
    "message/rfc822": ".eml",
    "text/calendar": ".ics",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/plain": ".txt",
    "text/rfc822-headers": ".txt",
}


class TooComplexError(ValueError):
    """The mail has more parts, or parts deeper within each other, than any honest one."""


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
    :ivar text: the plain text, ``None`` if the mail has none; so ``html``.
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
    headers, start = split_headers(body)
    named = by_name(headers)
    collected = _Collected()
    collected.add(_part(headers, body[start:]))
    return Mail(
        headers=headers,
        subject=decoded(_first(named, "subject")),
        sender=addresses(named.get("from", ())),
        reply_to=addresses(named.get("reply-to", ())),
        to=addresses(named.get("to", ())),
        cc=addresses(named.get("cc", ())),
        text=collected.text,
        html=collected.html,
        attachments=collected.attachments,
    )


def _first(named: Mapping[str, Sequence[str]], wanted: str) -> str:
    return named.get(wanted, ("",))[0]


@frozen
class _Part:
    """One part: its headers, as the library that knows their parameters, and its raw content."""

    header: Message
    content: bytes
    kind: str

    @property
    def _encoding(self) -> str:
        return str(self.header.get("Content-Transfer-Encoding", "")).strip().lower()

    def decoded(self) -> bytes:
        """Return the content without its transfer encoding."""
        if self._encoding == "base64":
            return from_base64(self.content)
        if self._encoding == "quoted-printable":
            return quopri.decodestring(self.content)
        return self.content

    def base64(self) -> bytes:
        """Return the decoded content in base64."""
        if self._encoding == "base64":
            return tidy_base64(self.content)
        return binascii.b2a_base64(self.decoded(), newline=False)

    def text(self) -> str:
        """Return the content as text."""
        return text_of(self.decoded(), self.header.get_content_charset("us-ascii"))


def _part(headers: Sequence[tuple[str, str]], content: bytes, default: str = "text/plain") -> _Part:
    header: Message = Message()
    header.set_default_type(default)
    for name, value in headers:
        if name.lower().startswith("content-"):
            header[name] = value
    return _Part(header, content, header.get_content_type())


def _pieces(content: bytes, boundary: bytes) -> Iterator[bytes]:
    """Give the parts of a multipart (RFC 2046 §5.1.1); the last delimiter may be missing."""
    delimiter = b"--" + boundary
    begin: int | None = None
    at = content.find(delimiter)
    while at >= 0:
        after = at + len(delimiter)
        line_end = content.find(b"\n", after)
        tail = content[after : line_end if line_end >= 0 else len(content)].strip()
        if tail in (b"", b"--") and (at == 0 or content[at - 1] == ord("\n")):
            if begin is not None:
                yield content[begin : _before_line_end(content, at)]
            begin = line_end + 1 if line_end >= 0 else len(content)
            if tail == b"--":
                return
        at = content.find(delimiter, after)
    if begin is not None:
        yield content[begin:]


def _before_line_end(content: bytes, at: int) -> int:
    """Return where the line end before ``at`` begins: it belongs to the delimiter, not to the part."""
    return at - 2 if content[at - 2 : at] == b"\r\n" else at - 1


@define
class _Collected:
    """Sorts the parts of a mail into texts and attachments, in their order."""

    text: str | None = None
    html: str | None = None
    attachments: list[Attachment] = field(factory=list)
    _seen: int = 0

    def add(self, part: _Part, depth: int = 0, alternative: bool = False) -> None:
        self._seen += 1
        if depth > MAX_DEPTH or self._seen > MAX_PARTS:
            raise TooComplexError(f"more than {MAX_PARTS} parts, or nested deeper than {MAX_DEPTH}")
        boundary = part.header.get_boundary() if part.kind.startswith("multipart/") else None
        if boundary:
            self._add_all(part, boundary, depth)
        elif self._is_attached(part):
            self._attach(part)
        elif part.kind == "text/html":
            self._add_html(part)
        elif part.kind == "text/plain" or part.kind.startswith("multipart/"):
            self._add_text(part, alternative)
        else:
            self._attach(part)

    def _add_all(self, part: _Part, boundary: str, depth: int) -> None:
        default = "message/rfc822" if part.kind == "multipart/digest" else "text/plain"
        empty = True
        for piece in _pieces(part.content, boundary.encode("utf-8", "surrogateescape")):
            headers, start = split_headers(piece)
            inner = _part(headers, piece[start:], default)
            self.add(inner, depth + 1, part.kind == "multipart/alternative")
            empty = False
        if empty:  # the boundary does not occur: what is there is all text that we have
            self._add_text(part, alternative=False)

    @staticmethod
    def _is_attached(part: _Part) -> bool:
        return part.header.get_content_disposition() == "attachment" or bool(part.header.get_filename())

    def _add_html(self, part: _Part) -> None:
        if self.html is None:
            self.html = part.text()
        else:
            self._attach(part)

    def _add_text(self, part: _Part, alternative: bool) -> None:
        """Keep the text; a second one goes below it, unless readers of the HTML would miss it there."""
        if self.text is None and (self.html is None or alternative):
            self.text = part.text()
        elif self.html is None:
            self.text = f"{self.text}\n{part.text()}"
        else:
            self._attach(part)

    def _attach(self, part: _Part) -> None:
        content_id = str(part.header.get("Content-ID", "")).strip().strip("<>")
        name = self._name(part)
        self.attachments.append(Attachment(name, part.kind, part.base64(), decoded(content_id)))

    def _name(self, part: _Part) -> str:
        given = decoded(part.header.get_filename() or "")
        given = re.split(r"[/\\]", given)[-1].strip(" .")
        if given:
            return given
        if part.kind in ("message/rfc822", "message/global"):
            subject = decoded(_first(by_name(split_headers(part.decoded())[0]), "subject"))
            given = re.sub(r'[/\\:*?"<>|]', "_", subject).strip(" .")[:100]
        return (given or f"attachment-{len(self.attachments) + 1}") + _EXTENSIONS.get(part.kind, ".bin")
