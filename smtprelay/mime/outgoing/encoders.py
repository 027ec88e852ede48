"""
Transfer encodings of a part that leaves, made piece by piece.

However the octets are cut into pieces, the same comes out: lines are broken at places that the octets decide.
No line that comes out is longer than RFC 2045 allows. Pure.
"""

import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

_CRLF: Final = b"\r\n"
#: Characters of a line of base64, and the octets that they stand for.
_LINE: Final = 76
_GROUP: Final = 57
#: Lines longer than this are taken in pieces of it, so that none has to be held.
_PIECE: Final = 4080

_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_NOT_BASE64: Final = bytes(set(range(256)) - set(_BASE64))
_BLANKS_BEHIND_SOFT_BREAK: Final = re.compile(rb"=[ \t]++(?=\r?\n|\Z)")


class Encoder(Protocol):
    """Takes the content of a part in pieces."""

    def feed(self, octets: bytes) -> bytes:
        """Return what is complete after the next piece."""

    def end(self) -> bytes:
        """Return what was held back; nothing comes after it."""


class Base64Encoder:
    """Encodes as base64. Line ends stand between the lines, none behind the last one."""

    def __init__(self) -> None:
        self._held = b""
        self._begun = False

    def feed(self, octets: bytes) -> bytes:
        """Encode whole lines."""
        octets = self._held + octets
        whole = len(octets) - len(octets) % _GROUP
        self._held = octets[whole:]
        return self._lines(binascii.b2a_base64(octets[:whole], newline=False))

    def end(self) -> bytes:
        """Encode the last line."""
        return self._lines(binascii.b2a_base64(self._held, newline=False))

    def _lines(self, letters: bytes) -> bytes:
        if not letters:
            return b""
        lines = _CRLF.join([letters[at : at + _LINE] for at in range(0, len(letters), _LINE)])
        lines, self._begun = (_CRLF + lines if self._begun else lines), True
        return lines


class Base64Wrapper(Base64Encoder):
    """Puts base64 into lines anew; what does not belong to it is left out, as each decoder does."""

    def feed(self, octets: bytes) -> bytes:
        """Return whole lines."""
        letters = self._held + octets.translate(None, _NOT_BASE64)
        whole = len(letters) - len(letters) % _LINE
        self._held = letters[whole:]
        return self._lines(letters[:whole])

    def end(self) -> bytes:
        """Return the last line."""
        return self._lines(self._held)


class _Lines:
    """
    Cuts octets into blocks of whole lines, and lines that are too long to be held into pieces.

    :param cut: where to cut a line that is longer than ``_PIECE``.
    """

    def __init__(self, cut: Callable[[bytes], int]) -> None:
        self._held = b""
        self._cut = cut

    def feed(self, octets: bytes) -> Iterator[tuple[bytes, bool]]:
        """Give blocks and pieces; with each, whether the line goes on behind it."""
        octets = self._held + octets
        end = octets.rfind(_CRLF) + 2 if _CRLF in octets else 0
        block, line = octets[:end], octets[end:]
        if max(map(len, block.split(_CRLF))) <= _PIECE:
            yield from [(block, False)] if block else ()
        else:
            for whole in block.split(_CRLF)[:-1]:
                *pieces, last = self._pieces(whole, len(whole))
                yield from ((piece, True) for piece in pieces)
                yield last + _CRLF, False
        # A CR at the end may be half of a line end.
        *pieces, self._held = self._pieces(line, len(line) - line.endswith(b"\r"))
        yield from ((piece, True) for piece in pieces)

    def end(self) -> bytes:
        """Return the last line, which has no end."""
        return self._held

    def _pieces(self, line: bytes, length: int) -> Iterator[bytes]:
        """Give a line in pieces, none longer than :data:`_PIECE`, of which ``length`` octets are sure."""
        at = 0
        while length - at > _PIECE:
            cut = self._cut(line[at : at + _PIECE])
            yield line[at : at + cut]
            at += cut
        yield line[at:]


class QuotedPrintableEncoder:
    """Encodes as quoted-printable; CRLF is a line end, and any other CR or LF an octet like others."""

    def __init__(self) -> None:
        self._lines = _Lines(len)

    def feed(self, octets: bytes) -> bytes:
        """Encode whole lines, and pieces of long ones."""
        return b"".join(
            _quoted(piece) + (b"=\r\n" if goes_on else b"") for piece, goes_on in self._lines.feed(octets)
        )

    def end(self) -> bytes:
        """Encode the last line."""
        return _quoted(self._lines.end())


class QuotedPrintableWrapper:
    """Puts quoted-printable into lines anew, with all encoded that has to be."""

    def __init__(self) -> None:
        self._lines = _Lines(_before_escape)
        self._encoder = QuotedPrintableEncoder()

    def feed(self, octets: bytes) -> bytes:
        """Decode and encode whole lines, and pieces of long ones."""
        return b"".join(self._encoder.feed(_unquoted(piece)) for piece, _ in self._lines.feed(octets))

    def end(self) -> bytes:
        """Decode and encode the last line."""
        return self._encoder.feed(_unquoted(self._lines.end())) + self._encoder.end()


#: By the name of the plan's step.
ENCODERS: Final[Mapping[str, Callable[[], Encoder]]] = {
    "base64": Base64Encoder,
    "wrap-base64": Base64Wrapper,
    "quoted-printable": QuotedPrintableEncoder,
    "wrap-quoted-printable": QuotedPrintableWrapper,
}


def encoded_length(kind: str, octets: bytes) -> int:
    """Return how long ``octets`` are in the encoding of a step."""
    encoder = ENCODERS[kind]()
    step = 1 << 18
    length = sum(len(encoder.feed(octets[at : at + step])) for at in range(0, len(octets), step))
    return length + len(encoder.end())


def _quoted(block: bytes) -> bytes:
    ends = block.count(_CRLF)
    if ends and block.count(b"\r") == ends and block.count(b"\n") == ends:
        return binascii.b2a_qp(block)
    return _CRLF.join([_quoted_line(line) for line in block.split(_CRLF)])


def _quoted_line(line: bytes) -> bytes:
    # With no line end in it binascii breaks lines by LF alone.
    return binascii.b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n")


def _unquoted(block: bytes) -> bytes:
    return binascii.a2b_qp(_BLANKS_BEHIND_SOFT_BREAK.sub(b"=", block))


def _before_escape(piece: bytes) -> int:
    """Return where to cut ``piece`` so that no ``=XX`` is divided."""
    escape = piece.find(b"=", len(piece) - 2)
    return len(piece) if escape < 0 else escape
