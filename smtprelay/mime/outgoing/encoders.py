"""
Transfer encodings of a part that leaves, made piece by piece.

However the octets are cut into pieces, the same comes out: lines are broken at places that the octets decide.
No line that comes out is longer than RFC 2045 allows. Pure.
"""

import binascii
from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from typing import Final, Protocol

from smtprelay.mime.transfer_encoding import base64_letters, from_quoted_printable, padded

_CRLF: Final = b"\r\n"
#: Characters of a line of base64, and the octets that they stand for.
_LINE: Final = 76
_GROUP: Final = 57
#: Lines longer than this are taken in pieces of it, so that none has to be held.
_PIECE: Final = 4080
#: Octets that are encoded at a time where all are at hand: what is made of short lines has a bound.
_STEP: Final = 1 << 18


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
    """
    Puts a block of base64 into lines anew; what does not belong to it is left out, as each decoder does.

    The block is one of :func:`smtprelay.mime.transfer_encoding.base64_blocks`.
    """

    def feed(self, octets: bytes) -> bytes:
        """Return whole lines."""
        letters = self._held + base64_letters(octets)
        whole = len(letters) - len(letters) % _LINE
        self._held = letters[whole:]
        return self._lines(letters[:whole])

    def end(self) -> bytes:
        """Return the last line."""
        return self._lines(padded(self._held))


class _LineSplit:
    """
    Cuts octets into blocks of whole lines, and lines that are too long to be held into pieces.

    :param cut: where to cut a line that is longer than ``_PIECE``.
    """

    def __init__(self, cut: Callable[[bytes], int]) -> None:
        self._held = b""
        self._cut = cut

    def feed(self, octets: bytes) -> Iterator[tuple[bytes, bool]]:
        """Give blocks and pieces; with each, whether the line continues behind it."""
        octets = self._held + octets
        begin = at = 0
        while len(octets) - at > _PIECE:
            end = octets.rfind(_CRLF, at, at + _PIECE + 2)
            if end >= 0:
                at = end + 2
                continue
            end = octets.find(_CRLF, at + _PIECE)
            if end < 0:
                break
            if begin < at:
                yield octets[begin:at], False
            *pieces, last = self._pieces(octets[at:end], end - at)
            yield from ((piece, True) for piece in pieces)
            yield last + _CRLF, False
            begin = at = end + 2
        last_end = octets.rfind(_CRLF, at)
        end = at if last_end < 0 else last_end + 2
        if begin < end:
            yield octets[begin:end], False
        line = octets[end:]
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
        self._lines = _LineSplit(len)

    def feed(self, octets: bytes) -> bytes:
        """Encode whole lines, and pieces of long ones."""
        return b"".join(
            _quoted(piece) + (b"=\r\n" if goes_on else b"") for piece, goes_on in self._lines.feed(octets)
        )

    def end(self) -> bytes:
        """Encode the last line."""
        return _quoted(self._lines.end())


class QuotedPrintableWrapper:
    """
    Puts quoted-printable into lines anew, with all encoded that has to be.

    Blanks at the end of a line go, unless there are thousands of them.
    """

    def __init__(self) -> None:
        self._lines = _LineSplit(_before_begun)
        self._encoder = QuotedPrintableEncoder()

    def feed(self, octets: bytes) -> bytes:
        """Decode and encode whole lines, and pieces of long ones."""
        return b"".join(
            self._encoder.feed(_within_line(piece) if goes_on else from_quoted_printable(piece))
            for piece, goes_on in self._lines.feed(octets)
        )

    def end(self) -> bytes:
        """Decode and encode the last line."""
        return self._encoder.feed(from_quoted_printable(self._lines.end())) + self._encoder.end()


#: By the name of the plan's step.
ENCODERS: Final[Mapping[str, Callable[[], Encoder]]] = {
    "base64": Base64Encoder,
    "wrap-base64": Base64Wrapper,
    "quoted-printable": QuotedPrintableEncoder,
    "wrap-quoted-printable": QuotedPrintableWrapper,
}


def encoded(kind: str, octets: bytes) -> bytes:
    """Return ``octets`` as the step ``kind`` encodes them."""
    return b"".join(_pieces(kind, octets))


def encoded_size(kind: str, octets: bytes) -> int:
    """Return how many octets :func:`encoded` has; they are never all in memory."""
    return sum(map(len, _pieces(kind, octets)))


def _pieces(kind: str, octets: bytes) -> Iterator[bytes]:
    encoder = ENCODERS[kind]()
    for at in range(0, len(octets), _STEP):
        yield encoder.feed(octets[at : at + _STEP])
    yield encoder.end()


def _quoted(block: bytes) -> bytes:
    ends = block.count(_CRLF)
    if ends and block.count(b"\r") == ends and block.count(b"\n") == ends:
        quoted = binascii.b2a_qp(block)
    else:
        no = repeat(False)  # neither tabs nor text; keywords would take as long as the work on a short line
        lines = map(binascii.b2a_qp, block.split(_CRLF), no, no)
        # Without a line end in it binascii breaks a line by LF alone.
        quoted = _CRLF.join(lines).replace(b"=\n", b"=\r\n")
    if b"--" not in block:
        return quoted
    # A line with two hyphens in front may be a delimiter, here or where the part lies.
    return (b"=2D" + quoted[1:] if quoted.startswith(b"--") else quoted).replace(b"\n--", b"\n=2D-")


def _within_line(piece: bytes) -> bytes:
    """Decode quoted-printable that continues behind ``piece``: nothing at its end ends a line."""
    return from_quoted_printable(piece + b".")[:-1]


def _before_begun(piece: bytes) -> int:
    """Return where to cut ``piece`` so that what is decoded as one is not divided."""
    # At its end may be blanks of the end of a line, and a part of an escape or of a soft line break.
    end = len(piece.rstrip(b" \t"))
    escape = piece.find(b"=", max(end - 2, 0), end)
    return (end if escape < 0 else escape) or len(piece)
