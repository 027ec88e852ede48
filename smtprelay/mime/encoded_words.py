"""
Encoded words (RFC 2047) in the values of header fields.

Written here: ``email.header`` asks Python for any codec that a mail names (250,000 letters of punycode:
41 s), raises for a charset that it does not know, reads raw octets within a word as Latin-1, and mends no
word that is nearly right. For a right one it costs the same: 7 µs for a name of two words.

Header values travel as ``str`` in which octets beyond ASCII stand by ``surrogateescape``, until it is
known which charset the body is in: that is the best guess for them, too. Pure.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from typing import Final

from attrs import frozen

from smtprelay.mime import charset as charsets
from smtprelay.mime.charset.labels import codec_of
from smtprelay.mime.transfer_encoding import from_base64, from_q

#: More than these, of one value, stay as they stand.
MAX_WORDS: Final = 5000

#: A word as scanners of addresses take it: in one piece, whatever commas and quotes are in it.
WORD: Final = re.compile(r"(=\?[^?\s]{1,150}+\?[bBqQ]\?[^?\s]*+\?=)")

_OCTETS: Final = re.compile(r"[\udc80-\udcff]++")
_HALF: Final = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")
_HEAD: Final = re.compile(r"=\?([^?*\s]{1,75})(?:\*[^?\s]{0,75})?\?([bBqQ])\?")
#: A question mark and an escape, if a word's end follows before a blank and before another word.
_NO_END: Final = re.compile(r"\?=[0-9A-Fa-f]{2}[^\s?]*+(?:(?<!=)\?(?!=)[^\s?]*+)*+(?<!=)\?=")
_PADDED_BLOCKS: Final = re.compile(r"(?:[A-Za-z0-9+/]{2}(?:[A-Za-z0-9+/]{2}|[A-Za-z0-9+/]=|==))*+")
_ESCAPE: Final = re.compile(r"_|=[0-9A-Fa-f]{2}")


@frozen
class Word:
    """An encoded word as it stands; ``encoding`` is ``b`` or ``q``, ``content`` is not decoded."""

    charset: str
    encoding: str
    content: str


def pieces(value: str) -> Iterator[str | Word]:
    """
    Give ``value`` in order: encoded words, and what is between them.

    A word ends at the first ``?=``; blanks may be in it, another word's beginning may not.
    """
    done = at = words = 0
    end = -1
    while words < MAX_WORDS and (at := value.find("=?", at)) >= 0:
        head = _HEAD.match(value, at)
        if head is None:
            at += 1
            continue
        begin = head.end()
        if end < begin and (end := value.find("?=", begin)) < 0:
            break
        other = value.find("=?", begin, end)
        if other >= 0:
            at = other
            continue
        if head[2] in "qQ":
            end = _end_of_q(value, end)
        if at > done:
            yield value[done:at]
        yield Word(head[1].lower(), head[2].lower(), value[begin:end])
        done = at = end + 2
        words += 1
    if done < len(value):
        yield value[done:]


def _end_of_q(value: str, end: int) -> int:
    """Return where a Q word ends: ``?=3D`` is a question mark and an escape, if its end follows it."""
    while longer := _NO_END.match(value, end):
        end = longer.end() - 2
    return end


def decode_words(value: str, guess: str = "") -> str:
    """
    Return ``value`` with its encoded words decoded, and with octets beyond ASCII read as UTF-8 or ``guess``.

    Blanks between two words are dropped. Words that follow each other in one charset are decoded together:
    programs split characters over them.
    """
    value = without_halves(value)
    if "=?" not in value:
        return raw_text(value, guess)
    found = list(pieces(value))
    kept = [
        piece
        for index, piece in enumerate(found)
        if isinstance(piece, Word)
        or not piece.isspace()
        or not 0 < index < len(found) - 1  # between two words
    ]
    text: list[str] = []
    for charset, run in groupby(kept, key=lambda piece: piece.charset if isinstance(piece, Word) else None):
        if charset is None:
            text.extend(raw_text(piece, guess) for piece in run if isinstance(piece, str))
        else:
            text.append(_text([piece for piece in run if isinstance(piece, Word)], charset, guess))
    return "".join(text)


def raw_text(value: str, guess: str = "") -> str:
    """Return ``value`` with its octets beyond ASCII read as UTF-8, else as ``guess``."""
    if value.isascii() and "\x1b" not in value and "~{" not in value:
        return value
    try:
        return charsets.decode(value.encode("ascii", "surrogateescape"), "", guess)
    except UnicodeEncodeError:  # characters that have been read stay
        return _OCTETS.sub(lambda run: raw_text(run[0], guess), value)


def without_raw_octets(value: str, guess: str) -> str:
    """
    Return ``value`` with its octets beyond ASCII read, but for those within encoded words.

    For scanners: in some charsets the second octet of a character is that of a quote, a backslash or a comma.
    """
    if value.isascii() and "\x1b" not in value:
        return value
    value = without_halves(value)
    return "".join(
        piece if index % 2 else raw_text(piece, guess) for index, piece in enumerate(WORD.split(value))
    )


def without_halves(value: str) -> str:
    """Return ``value`` with U+FFFD for each half of a character that stands for no octet."""
    return value if value.isascii() else _HALF.sub("\ufffd", value)


def _text(words: list[Word], charset: str, guess: str) -> str:
    octets = b"".join(_octets(word) for word in words)
    if len(words) > 1 and all(word.encoding == "b" for word in words) and not charsets.fits(octets, charset):
        # Some split base64 itself, so that only all of it makes octets.
        whole = from_base64("".join(word.content for word in words).encode("ascii", "replace"))
        if charsets.fits(whole, charset):
            octets = whole
    return charsets.decode(octets, charset, guess)


def _octets(word: Word) -> bytes:
    """Return the octets of a word; a wrong letter for its encoding is seen by its content."""
    content = _encoded(word.content, word.charset)
    if word.encoding == "b":
        q = _ESCAPE.search(word.content) and not _PADDED_BLOCKS.fullmatch(word.content)
        return from_q(content) if q else from_base64(content)
    if word.content.endswith("=") and _PADDED_BLOCKS.fullmatch(word.content):
        octets = from_base64(content)
        if charsets.fits(octets, word.charset):
            return octets
    return from_q(content)


def _encoded(content: str, charset: str) -> bytes:
    """Return the octets that ``content`` was before characters beyond ASCII in it were read."""
    for codec in ("ascii", codec_of(charset)):
        with suppress(UnicodeError):
            return content.encode(codec or "ascii", "surrogateescape")
    return content.encode("utf-8", "surrogateescape")
