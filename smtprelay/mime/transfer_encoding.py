"""
Content-Transfer-Encoding (RFC 2045 §6): what a part's octets are, however they were packed.

The standard library does the bulk of it at its speed. What it drops (base64 behind a padded block), keeps
(blanks at the end of a line of quoted-printable) or fails over (a line of uuencode) is corrected before or
beside it. Pure.
"""

import binascii
import re
import string
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal

from smtprelay.mime.controls import holds_controls

Encoding = Literal["7bit", "base64", "quoted-printable", "x-uuencode"]

_COMMENT: Final = re.compile(r"\([^)]*+\)?")
#: How the encodings are spelt, without punctuation.
_SPELLINGS: Final[Mapping[Encoding, str]] = {
    "base64": "base64 xbase64 b64 b",
    "quoted-printable": "quotedprintable quotedprintible quoteprintable xquotedprintable qp q",
    "x-uuencode": "uuencode xuuencode uuencoded xuuencoded uue xuue",
}
_NAMES: Final = {name: encoding for encoding, names in _SPELLINGS.items() for name in names.split()}
_MAX_VALUE: Final = 200

_BASE64: Final = (string.ascii_letters + string.digits + "+/").encode()
_NOT_BASE64: Final = bytes(octet for octet in range(256) if octet not in _BASE64)
#: What follows a padded block and may be one more.
_BLOCK: Final = re.compile(rb"[\r\n \t=]*+((?:[A-Za-z0-9+/]++(?:[\r\n]++|(?==)|\Z))++)(={0,2})")
#: More letters than a word has that a mailing list put below.
_NO_WORD: Final = 40
_LONG_LINE: Final = re.compile(rb"[A-Za-z0-9+/]{%d}" % _NO_WORD)
_PADDING: Final = re.compile(rb"=[= \t]*+\r?(?:\n|\Z)")
_BASE64_LINES: Final = _BASE64 + b"\r\n"

#: The first line of base64, whatever follows a padded block in it.
_FIRST_LINE: Final = re.compile(rb"\s*+[A-Za-z0-9+/]++(?:=+|[ \t]*+\r?(?:\n|\Z))")

_TABS_AS_BLANKS: Final = bytes.maketrans(b"\t", b" ")

_UU_BEGIN: Final = re.compile(rb"(?:\A|(?<=\n))begin(?:-base64)? +[0-7]{3,4} [^\n]*+\n")


def encoding_of(value: str) -> Encoding:
    """
    Return the encoding that a Content-Transfer-Encoding means, however it is spelt.

    ``"7bit"``: the octets are not encoded, or in an unknown way.
    """
    return _encoding_of(value[:_MAX_VALUE]) if value else "7bit"


@lru_cache(maxsize=64)
def _encoding_of(value: str) -> Encoding:
    words = _COMMENT.sub(" ", value).lower().replace(";", " ").split()
    for name in ("".join(words), words[0] if words else ""):
        letters = re.sub(r"[^a-z0-9]", "", name)
        if letters in _NAMES:
            return _NAMES[letters]
    return "7bit"


def decode(content: bytes, encoding: Encoding) -> bytes:
    """Return ``content`` without its transfer encoding; what is broken gives what can be saved."""
    if encoding == "base64":
        return from_base64(content)
    if encoding == "quoted-printable":
        return from_quoted_printable(content)
    return from_uuencode(content) if encoding == "x-uuencode" else content


def from_quoted_printable(content: bytes) -> bytes:
    """
    Decode quoted-printable.

    An escape that is none stays as it is. Blanks at the end of a line were put there on the way and are
    dropped, also behind the equals sign of a soft line break (RFC 2045 §6.7, rule 3).
    """
    # To look for each of the four ends would take twice as long.
    if content.endswith((b" ", b"\t")) or b" \n" in content.translate(_TABS_AS_BLANKS, b"\r"):
        for end in (b"\r\n", b"\n"):
            content = end.join([line.rstrip(b" \t") for line in content.split(end)])
    return binascii.a2b_qp(_without_strange_signs(content))


def from_q(content: bytes) -> bytes:
    """Decode the Q encoding of an encoded word (RFC 2047 §4.2)."""
    spaced = content.replace(b"_", b" ")
    # The library drops a sign at the end.
    return binascii.a2b_qp(_without_strange_signs(spaced + b"3D" if spaced.endswith(b"=") else spaced))


def _without_strange_signs(content: bytes) -> bytes:
    """Escape equals signs that stand for themselves, where the library would take them for something else."""
    if b"==" in content:
        # It takes two for one. In a row of them every second one is seen at a time.
        content = content.replace(b"==", b"=3D=").replace(b"==", b"=3D=")
    if content.count(b"=\r") != content.count(b"=\r\n"):
        # It drops all between such a sign, a bare CR and the next line.
        content = content.replace(b"=\r\n", b"=\n").replace(b"=\r", b"=3D\r")
    return content


def from_uuencode(content: bytes) -> bytes:
    """
    Decode uuencode, with or without its ``begin`` line; a line that is none of it is skipped.

    What has no such line at all comes back as it is.
    """
    begin = _UU_BEGIN.search(content)
    if begin and begin[0].startswith(b"begin-base64"):
        return from_base64(content[begin.end() :].partition(b"\n====")[0])
    decoded: list[bytes] = []
    for line in content[begin.end() if begin else 0 :].split(b"\n"):
        letters = line.rstrip(b"\r")
        if letters == b"end":
            break
        decoded.append(_from_uu_line(letters, blanks_lost=begin is not None))
    return b"".join(decoded) or (b"" if begin else content)


def _from_uu_line(letters: bytes, blanks_lost: bool) -> bytes:
    """Decode a line: its length, then four letters for three octets; blanks at its end may be lost."""
    length = (letters[0] - 0x20) & 0x3F if letters else 0
    needed = 1 + (length + 2) // 3 * 4
    if not length or len(letters) > needed + 1 or len(letters) < (needed // 2 if blanks_lost else needed):
        return b""
    try:
        # Some programs fill the last four letters with anything.
        return binascii.a2b_uu(letters[: (length * 4 + 5) // 3])
    except binascii.Error:
        return b""


def from_base64(content: bytes) -> bytes:
    """
    Decode base64, of one padded block or several.

    What does not belong to it is skipped, an incomplete end is cut off. Behind the first block only lines
    that are base64 and nothing else count, so that a footer does not become part of a file.
    """
    return b"".join(map(_block, base64_blocks(content)))


def base64_blocks(content: bytes) -> Sequence[bytes]:
    """Return the blocks that :func:`from_base64` decodes, without padding; the first begins ``content``."""
    padding = content.find(b"=")
    blocks = [content if padding < 0 else content[:padding]]
    if padding < 0 or not _PADDING.match(content, padding):
        blocks = [blocks[0][: _footer(blocks[0])]]
    if padding < 0 or len(blocks[0]) < padding or not content[padding:].strip(b"= \t\r\n"):
        return blocks
    following = _BLOCK.match(content, padding)
    while following is not None:
        letters = following[1].translate(None, b"\r\n")
        if (len(letters) + len(following[2])) % 4 and len(letters) < _NO_WORD:
            break
        blocks.append(letters)
        following = _BLOCK.match(content, following.end())
    return blocks


def is_no_base64(content: bytes) -> bool:
    """
    Return whether a text that claims to be base64 is plainly a text as it stands: programs forget to encode.

    Its first line is none of base64, and decoded it would be no text in UTF-8.
    """
    if not content.strip() or _FIRST_LINE.match(content):
        return False
    octets = from_base64(content)
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return holds_controls(octets)


def _block(content: bytes) -> bytes:
    try:
        return binascii.a2b_base64(content)
    except binascii.Error:
        return binascii.a2b_base64(padded(base64_letters(content)))


def _footer(block: bytes) -> int:
    """Return where lines begin that are no base64, below one that is; the end of ``block`` for nowhere."""
    cut = begin = len(block)
    if not block.translate(None, _BASE64_LINES):
        return cut
    while begin:
        end, begin = begin, block.rfind(b"\n", 0, begin - 1) + 1
        line = block[begin:end].rstrip()
        strange = line.translate(None, _BASE64)
        if _LONG_LINE.match(line) or (not begin and line and not strange):
            return cut
        cut = begin if strange else cut
    return len(block)


def base64_letters(content: bytes) -> bytes:
    """Return ``content`` without what is no letter of base64, padding included."""
    return content.translate(None, _NOT_BASE64)


def padded(letters: bytes) -> bytes:
    """Return the letters of a block with its padding."""
    # One letter beyond a multiple of four holds six bits, which is no byte.
    whole = letters[: len(letters) - (len(letters) % 4 == 1)]
    return whole + b"=" * (-len(whole) % 4)


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
