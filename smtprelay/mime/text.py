"""
The text in a mail's headers: fields, encoded words, addresses, charsets.

Nothing here ever fails over what it reads. A relay's clients write raw UTF-8 or
Latin-1 into headers, split characters over two encoded words and name charsets
that do not exist; each of these still has one reading that a person would choose.
"""

import binascii
import email.utils
import re
import string
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from attrs import frozen

#: The headers of a mail or part: (name, unfolded value), in their order.
Headers = Sequence[tuple[str, str]]

_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:(.*(?:\n[ \t].*)*)(?:\n|\Z)")
_FIELDS: Final = re.compile(rb"(?:[!-9;-~]+[ \t]*:.*(?:\n[ \t].*)*(?:\n|\Z))*+")
_MBOX_LINE: Final = re.compile(rb">?From .*\n")
_BLANK_LINE: Final = re.compile(rb"\r?\n")
_WORDS: Final = re.compile(r"((?:=\?[^?\s]+\?[bBqQ]\?[^?]*\?=(?:[ \t]+(?==\?))?)+)")
_WORD: Final = re.compile(r"=\?([^?\s*]+)[^?\s]*\?([bBqQ])\?([^?]*)\?=")
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]")
_BASE64: Final = (string.ascii_letters + string.digits + "+/").encode()
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


def addresses(values: Sequence[str]) -> tuple[Address, ...]:
    """Return the mailboxes in the values of headers of one name; groups are flattened."""
    plain = _PLAIN_MAILBOX.fullmatch(values[0]) if len(values) == 1 else None
    if plain is not None:
        name, bracketed, bare = plain.groups("")
        return (Address(bracketed or bare, name.rstrip(" ")),)
    pairs = email.utils.getaddresses(values, **_LENIENT) if values else ()
    return tuple(Address(address, decoded(name)) for name, address in pairs if "@" in address)


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


def decoded(value: str) -> str:
    """Decode the RFC 2047 words of a header's value, and drop control characters."""
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


def from_base64(content: bytes) -> bytes:
    """Decode base64; what does not belong to it is skipped, an incomplete end is cut off."""
    try:
        return binascii.a2b_base64(content)
    except binascii.Error:
        letters = _NOT_BASE64.sub(b"", content)
        # One letter beyond a multiple of four holds six bits, which is no byte.
        letters = letters[: len(letters) - (len(letters) % 4 == 1)]
        return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))


def tidy_base64(content: bytes) -> bytes:
    """
    Return base64 of what :func:`from_base64` gives for ``content``, with no line ends in it.

    Almost always ``content`` is that already, but for its line ends. To see so takes a
    quarter of the time that decoding and encoding it takes, which is long for large files.
    """
    letters = content.translate(None, b"\r\n")
    last = letters[-4:]
    if (
        not len(letters) % 4
        and _again(last) == last
        and letters.translate(None, _BASE64) == last.translate(None, _BASE64)
    ):
        return letters
    return _again(content)


def _again(content: bytes) -> bytes:
    return binascii.b2a_base64(from_base64(content), newline=False)
