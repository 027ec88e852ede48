"""
The header fields of a mail as people read them, and what they tell of its charset.

Nothing here ever fails over what it reads, and all of it is linear. A relay's clients write raw UTF-8 or
Latin-1 into headers, split characters over two encoded words and name charsets
that do not exist; each of these still has one reading that a person would choose. Pure.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from smtprelay.mime.charset.labels import ASCII, codec_of
from smtprelay.mime.controls import in_one_line
from smtprelay.mime.encoded_words import Word, decode_words, pieces

#: The headers of a mail or part: (name, unfolded value), in their order.
Headers = Sequence[tuple[str, str]]
_TELLS_NOTHING: Final = (ASCII, "utf")
#: The fields that mail programs show.
_READ_BY_PEOPLE: Final = ("subject", "from", "reply-to", "to", "cc")


def decoded(value: str | bytes, guess: str = "") -> str:
    """
    Return a header's value as people read it, in one line without control characters: RFC 2047 words decoded.

    :param value: octets that are not ASCII may stand in it by ``surrogateescape``.
    :param guess: the charset that those octets are in, if they are not UTF-8.
    """
    text = value.decode("ascii", "surrogateescape") if isinstance(value, bytes) else value
    if text.isascii() and text.isprintable() and "=?" not in text and "~{" not in text:
        return text.strip()
    return in_one_line(decode_words(text, guess))


def by_name(headers: Headers) -> dict[str, list[str]]:
    """Return the values of all headers, in their order, by lower-case name."""
    named: dict[str, list[str]] = {}
    for name, value in headers:
        named.setdefault(name.lower(), []).append(value)
    return named


def charsets_in(headers: Headers) -> Iterator[str]:
    """Give the charsets that the encoded words in what people read of a header name."""
    for name, value in headers:
        if "=?" in value and name.lower() in _READ_BY_PEOPLE:
            yield from (piece.charset for piece in pieces(value) if isinstance(piece, Word))


def guess_of(labels: Iterable[str]) -> str:
    """Return the first of ``labels`` that says what octets are which are not UTF-8, ``""`` if none does."""
    return next((label for label in labels if not (codec_of(label) or ASCII).startswith(_TELLS_NOTHING)), "")
