"""
The text in a mail's headers: fields, encoded words, addresses, charsets.

Nothing here ever fails over what it reads. A relay's clients write raw UTF-8 or
Latin-1 into headers, split characters over two encoded words and name charsets
that do not exist; each of these still has one reading that a person would choose.
"""

import binascii
import email.message
import email.utils
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from attrs import frozen

from smtprelay.mime import charset as charsets
from smtprelay.mime.transfer import from_base64, tidy_base64

__all__ = [
    "Address",
    "ContentType",
    "Headers",
    "addresses",
    "by_name",
    "comparison_key",
    "content_type",
    "decoded",
    "disposition",
    "from_base64",
    "split_headers",
    "text_of",
    "tidy_base64",
]

#: The headers of a mail or part: (name, unfolded value), in their order.
Headers = Sequence[tuple[str, str]]

_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:(.*(?:\n[ \t].*)*)(?:\n|\Z)")
_FIELDS: Final = re.compile(rb"(?:[!-9;-~]+[ \t]*:.*(?:\n[ \t].*)*(?:\n|\Z))*+")
_MBOX_LINE: Final = re.compile(rb">?From .*\n")
_BLANK_LINE: Final = re.compile(rb"\r?\n")
_WORDS: Final = re.compile(r"((?:=\?[^?\s]+\?[bBqQ]\?[^?]*\?=(?:[ \t]+(?==\?))?)+)")
_WORD: Final = re.compile(r"=\?([^?\s*]+)[^?\s]*\?([bBqQ])\?([^?]*)\?=")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_ATOMS: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
#: One mailbox without quotes, comments and encoded words: what most headers hold.
_PLAIN_MAILBOX: Final = re.compile(rf"(?:((?:[A-Za-z0-9]+ )*)<({_ATOMS}@{_ATOMS})>|({_ATOMS}@{_ATOMS}))")
#: These say the same of ASCII.
_ASCII: Final = frozenset({"ascii", "us-ascii", "utf-8", "iso-8859-1", "windows-1252"})
_LENIENT: Final = {"strict": False} if getattr(email.utils, "supports_strict_parsing", False) else {}


@frozen
class Address:
    """A mailbox of a header; ``name`` is its display name, decoded, or ``""``."""

    address: str
    name: str = ""


def split_headers(part: bytes) -> tuple[list[tuple[str, str]], int]:
    """
    Return the headers of a mail or part, and where its content begins.

    The first line that is no field ends them: there may be none at all.
    """
    mbox_line = _MBOX_LINE.match(part)
    begin = mbox_line.end() if mbox_line else 0
    fields = _FIELDS.match(part, begin)
    assert fields is not None  # there may be none of them
    blank = _BLANK_LINE.match(part, fields.end())
    headers = [(name.decode("ascii"), _unfolded(value)) for name, value in _FIELD.findall(fields[0])]
    return headers, blank.end() if blank else fields.end()


def _unfolded(value: bytes) -> str:
    return text_of(value.translate(None, b"\r\n").strip(b" \t"), "ascii")


def by_name(headers: Headers) -> dict[str, list[str]]:
    """Return the values of all headers, in their order, by lower-case name."""
    named: dict[str, list[str]] = {}
    for name, value in headers:
        named.setdefault(name.lower(), []).append(value)
    return named


@frozen
class ContentType:
    """
    A Content-Type or Content-Disposition, read.

    :ivar kind: ``type/subtype``, or the disposition, in lower case; ``""`` if the value says none.
    :ivar parameters: by lower-case name, decoded; of two with one name the first.
    """

    kind: str
    parameters: Mapping[str, str]


def content_type(value: str, guess: str = "") -> ContentType:
    """Read a Content-Type; the kind of a value that is not empty, but no type, is ``application/octet-stream``."""
    return _parameters("Content-Type", value, guess)


def disposition(value: str, guess: str = "") -> ContentType:
    """Read a Content-Disposition; the kind is ``attachment``, ``inline``, another token, or ``""``."""
    return _parameters("Content-Disposition", value, guess)


def comparison_key(address: str) -> str:
    """Return what is equal for two spellings of one address: its case, and A-labels for U-labels."""
    return address.casefold()


def _parameters(name: str, value: str, guess: str) -> ContentType:
    header: email.message.Message = email.message.Message()
    header[name] = value
    pairs = header.get_params(header=name, unquote=True) or [("", "")]
    found: dict[str, str] = {}
    for key, given in pairs[1:]:
        found.setdefault(key.lower(), decoded(email.utils.collapse_rfc2231_value(given), guess))
    return ContentType(pairs[0][0].strip().lower(), found)


def addresses(values: Sequence[str], guess: str = "") -> tuple[Address, ...]:
    """Return the mailboxes in the values of headers of one name; groups are flattened."""
    plain = _PLAIN_MAILBOX.fullmatch(values[0]) if len(values) == 1 else None
    if plain is not None:
        name, bracketed, bare = plain.groups("")
        return (Address(bracketed or bare, name.rstrip(" ")),)
    pairs = email.utils.getaddresses(values, **_LENIENT) if values else ()
    return tuple(Address(address, decoded(name, guess)) for name, address in pairs if "@" in address)


def text_of(content: bytes, charset: str) -> str:
    """Decode ``content``: by ``charset`` if that is known and fits, else as UTF-8, else as Windows-1252."""
    if content.isascii() and charset in _ASCII:
        return content.decode("ascii")
    for name in (charset, "utf-8"):
        try:
            text = content.decode(name)
            text.encode("utf-8")  # UTF-7 can spell halves of characters, which nobody could send on
        except (LookupError, ValueError):
            continue
        return text
    return content.decode("windows-1252", "replace")


def decoded(value: str | bytes, guess: str = "") -> str:
    """
    Return a header's value as people read it: RFC 2047 words decoded, control characters dropped.

    :param value: octets that are not ASCII may stand in it by ``surrogateescape``.
    :param guess: the charset that those octets are in, if they are not UTF-8.
    """
    octets = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    value = charsets.decode(octets, "", guess)
    if "=?" in value:
        value = "".join(_plain(piece) for piece in _WORDS.split(value))
    return _CONTROL.sub("", value)


def _plain(piece: str) -> str:
    """Decode a run of encoded words; anything else is returned as it is."""
    words = list(_encoded_words(piece)) if piece.startswith("=?") else []
    if not words:
        return piece
    # Characters are split over two words, against the RFC: join before decoding.
    runs = groupby(words, key=lambda word: word[0])
    return "".join(text_of(b"".join(content for _, content in run), charset) for charset, run in runs)


def _encoded_words(piece: str) -> Iterator[tuple[str, bytes]]:
    for charset, encoding, letters in _WORD.findall(piece):
        content = letters.encode("utf-8", "replace")
        if encoding in "qQ":
            yield charset.lower(), binascii.a2b_qp(content, header=True)
        else:
            yield charset.lower(), from_base64(content)
