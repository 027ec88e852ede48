"""
The canonical form of header fields and of a body (RFC 6376 §3.4): what a signature is made of.

The body comes in pieces, of which only some octets are kept. Runs of blanks become one by replacing pairs,
again and again: a regular expression takes time by the square of a run's length. Pure.
"""

import hashlib
from typing import Final

from smtprelay.mime.line_ends import with_crlf

CRLF: Final = b"\r\n"
_TAB_TO_BLANK: Final = bytes.maketrans(b"\t", b" ")
#: Empty lines that are hashed at once.
_LINES: Final = 8192


def canonical_field(field: bytes, *, relaxed: bool) -> bytes:
    """
    Return a header field in its canonical form.

    :param field: as it stands in the mail; with its line end or without, and so is the result.
    """
    if not relaxed:
        return field
    name, _, value = field.partition(b":")
    end = CRLF if value.endswith(CRLF) else b""
    unfolded = _with_single_blanks(value.replace(CRLF, b"")).strip(b" ")
    return name.rstrip(b" \t").lower() + b":" + unfolded + end


def _with_single_blanks(octets: bytes) -> bytes:
    octets = octets.translate(_TAB_TO_BLANK)
    while b"  " in octets:
        octets = octets.replace(b"  ", b" ")
    return octets


class BodyHash:
    """
    The SHA-256 of a body in its canonical form, as the last server will get it.

    SMTP has CRLF only, and ends the last line: so does what is hashed.
    """

    def __init__(self, *, relaxed: bool) -> None:
        self._relaxed = relaxed
        self._hash = hashlib.sha256()
        #: What depends on the next piece: one blank at most, and a CR.
        self._held = b""
        #: Line ends since the last octet that was hashed: at the end of the body they do not count.
        self._line_ends = 0
        self._is_empty = True

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        octets, self._held = self._held + piece, b""
        if octets.endswith(b"\r"):
            octets, self._held = octets[:-1], b"\r"
        octets = with_crlf(octets)
        if self._relaxed:
            octets = _with_single_blanks(octets).replace(b" \r\n", CRLF)
            if octets.endswith(b" "):
                octets, self._held = octets[:-1], b" " + self._held
        text = octets.rstrip(CRLF)
        if text:
            self._write_line_ends()
            self._hash.update(text)
            self._is_empty = False
        self._line_ends += (len(octets) - len(text)) // 2

    def digest(self) -> bytes:
        """Return the hash; nothing comes any more."""
        if not (self._relaxed and self._is_empty):
            self._hash.update(CRLF)
        return self._hash.digest()

    def _write_line_ends(self) -> None:
        while self._line_ends:
            number = min(self._line_ends, _LINES)
            self._hash.update(CRLF * number)
            self._line_ends -= number
