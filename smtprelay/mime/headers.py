"""
A light look at a message's header block.

The relay needs a few header fields of every mail, for its routes and for people,
and must not pay for a whole MIME parse to get them. Everything here is tolerant:
whatever bytes a device sends as headers, these functions give an answer. Pure.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import overload

_FIELD = re.compile(rb"(?:\A|(?<=\n))([!-9;-~]+)[ \t]*:[ \t]*([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)(?:\r\n|$)")
_FOLD = re.compile(r"\r\n(?=[ \t])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def block(start: bytes) -> bytes:
    """
    Return the header block that ``start``, the beginning of a message, holds.

    The empty line that ends it is left out; a message without one is all header.
    """
    if start.startswith(b"\r\n"):
        return b""
    end = start.find(b"\r\n\r\n")
    return start if end < 0 else start[: end + 2]


class Head(Sequence[tuple[str, str]]):
    """
    The fields of a header block, as :func:`fields` gives them, taken apart only when somebody looks.

    For one field by its name nothing else is read.
    """

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._pairs: list[tuple[str, str]] | None = None

    def first(self, name: str) -> str:
        """Return the value of the first field called ``name``, in any case; ``""`` if there is none."""
        wanted = name.lower().encode("ascii")
        lines = b"\n" + self._block.lower()
        at = lines.find(b"\n" + wanted)
        while at >= 0:
            field = _FIELD.match(self._block, at)
            if field is not None and len(field[1]) == len(wanted):
                return _text(field[2])
            at = lines.find(b"\n" + wanted, at + 1)
        return ""

    @overload
    def __getitem__(self, index: int) -> tuple[str, str]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[str, str]]: ...

    def __getitem__(self, index: int | slice) -> tuple[str, str] | Sequence[tuple[str, str]]:
        """Return one pair, or several."""
        return self._all()[index]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Give all pairs, in order."""
        return iter(self._all())

    def __len__(self) -> int:
        """Return how many fields there are."""
        return len(self._all())

    def _all(self) -> list[tuple[str, str]]:
        if self._pairs is None:
            self._pairs = fields(self._block)
        return self._pairs


def fields(head: bytes) -> list[tuple[str, str]]:
    """
    Return the (name, value) pairs of a header block, in order, values unfolded.

    Values are decoded as UTF-8 where they are, else as Latin-1; lines that are
    no header field are skipped.
    """
    return [(match[1].decode("ascii"), _text(match[2])) for match in _FIELD.finditer(head)]


def readable(value: str) -> str:
    """Return ``value`` for people: RFC 2047 words decoded, control characters made spaces."""
    if "=?" in value:
        # What is not what it pretends to be is shown as it stands.
        with suppress(HeaderParseError, LookupError, UnicodeError, ValueError):
            value = str(make_header(decode_header(value)))
    return _CONTROL.sub(" ", value).strip()


def _text(value: bytes) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return _FOLD.sub("", text) if "\r" in text else text
