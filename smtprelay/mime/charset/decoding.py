"""
From octets to text, by one table of charsets: the WHATWG encoding standard's, and the mail world's aliases.

What is decoded are subjects, names, file names and texts of programs that name a charset which they do not
write, name none, or cut a text off within a character. So each charset is decoded as the largest one
that is called by its name (GB 18030 for GB2312, Windows-1252 for Latin-1), a wrong octet costs one character,
and octets that do not fit their label but are UTF-8 are read as that. Pure.
"""

import re
from typing import Final

from smtprelay.mime.charset import codecs, labels
from smtprelay.mime.charset.labels import codec_of

_DEFAULT: Final = "cp1252"
_UTF_8: Final = "utf-8"
_UTF_16_MARKS: Final = {b"\xff\xfe": labels.UTF_16_LE, b"\xfe\xff": labels.UTF_16_BE}
#: Only ISO-2022 begins so, whatever the label says.
_ISO_2022: Final = re.compile(rb"\x1b(?:\$[@AB()]|\(I)")
_KOREAN: Final = b"\x1b$)C"
#: UTF-8 that ends within a character. A lone letter of Latin-1 is more likely but for these two.
_CUT_OFF: Final = re.compile(rb"(?:[\xc2\xc3]|[\xe0-\xef][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{1,2})\Z")
#: Number of octets of valid UTF-8 that rule out UTF-16.
_NO_CHANCE: Final = 16
_META: Final = re.compile(
    rb"""<(?:meta\s[^<>]*?charset|\?xml\s[^<>]*?encoding)\s*+=\s*+["']?\s*+([a-z0-9_.:+-]++)""", re.IGNORECASE
)
_META_WITHIN: Final = 4096


def known(label: str) -> bool:
    """Return whether ``label``, as a mail spells it, names a charset of the table."""
    return codec_of(label) is not None


def html_charset(octets: bytes) -> str:
    """Return the label that a ``<meta>`` in the first 4 KiB of an HTML document names, else ``""``."""
    found = _META.search(octets[:_META_WITHIN])
    return found[1].decode("ascii") if found else ""


def fits(octets: bytes, charset: str) -> bool:
    """Return whether ``charset`` is known and each of ``octets`` belongs to a character of it."""
    codec = codec_of(charset)
    if codec == _UTF_8:
        return _strict_utf_8(octets) is not None
    return codec is not None and codecs.REPLACEMENT not in codecs.decode(octets, codec)


def label_for(octets: bytes, guess: str = "") -> str:
    """Return the label with which :func:`decode` reads 8-bit octets as it does without one."""
    return _unlabelled(octets, guess)[0]


def decode(octets: bytes, charset: str = "", guess: str = "") -> str:
    """
    Return ``octets`` as text: never fails, holds no surrogates, and no more characters than there are octets.

    A wrong octet costs one character. A byte order mark is dropped.

    :param charset: what the mail says that they are. Empty, unknown or ``us-ascii``: UTF-8 if they are that,
        else ``guess``, else Windows-1252.
    :param guess: the charset of the mail's body, or what its HTML says.
    """
    codec = codec_of(charset) or labels.ASCII
    if codec not in codecs.NOT_ASCII and octets.isascii() and b"\x1b" not in octets:
        if codec_of(guess) != labels.HZ or b"~{" not in octets:
            return octets.decode("ascii")
        codec = labels.HZ
    marked = _marked(octets)
    if marked is not None:
        return marked
    if codec not in codecs.NOT_ASCII and octets.isascii() and _ISO_2022.search(octets):
        codec = _iso_2022(octets, guess)
    return _unlabelled(octets, guess)[1] if codec == labels.ASCII else _labelled(octets, codec, guess)


def _marked(octets: bytes) -> str | None:
    if octets.startswith(b"\xef\xbb\xbf"):
        return _labelled(octets[3:], _UTF_8, "")
    codec = _UTF_16_MARKS.get(octets[:2])
    return codecs.decode(octets[2:], codec) if codec and b"\0" in octets else None


def _iso_2022(octets: bytes, guess: str) -> str:
    if _KOREAN in octets:
        return labels.ISO_2022_KR
    codec = codec_of(guess)
    return codec if codec in (labels.ISO_2022_KR, labels.ISO_2022_CN) else labels.ISO_2022_JP


def _labelled(octets: bytes, codec: str, guess: str) -> str:
    if codec == _UTF_8:
        text = _strict_utf_8(octets)
        return _nearly_utf_8(octets, guess) if text is None else text
    wide = codec.startswith(("utf-16", "utf-32"))
    if wide and b"\0" not in octets and len(octets) >= _NO_CHANCE:
        text = _strict_utf_8(octets)
        if text is not None:
            return text
    text = codecs.decode(octets, codec)
    if codecs.REPLACEMENT in text and (wide or not octets.isascii()) and b"\0" not in octets:
        return _strict_utf_8(octets) or text
    return text


def _nearly_utf_8(octets: bytes, guess: str) -> str:
    """
    Return the text of octets that claim to be UTF-8 and have wrong ones among them, or are all something
    else.
    """
    right, wrong = _counts(octets)
    if right or (wrong == 1 and _CUT_OFF.search(octets)):
        return codecs.decode(octets, _UTF_8)
    return codecs.decode(octets, _single_octet(guess))


def _unlabelled(octets: bytes, guess: str) -> tuple[str, str]:
    text = _strict_utf_8(octets)
    if text is not None:
        return _UTF_8, text
    codec = codec_of(guess)
    if codec in codecs.MULTI_OCTET:
        text = codecs.decode(octets, codec)
        if codecs.REPLACEMENT not in text:
            return guess, text
    right, wrong = _counts(octets)
    if right > wrong:
        return _UTF_8, codecs.decode(octets, _UTF_8)
    if text is not None:
        return guess, text
    single = _single_octet(guess)
    return guess if single == codec else "windows-1252", codecs.decode(octets, single)


def _single_octet(guess: str) -> str:
    codec = codec_of(guess)
    if codec in (None, labels.ASCII, _UTF_8) or codec in codecs.NOT_ASCII or codec in codecs.MULTI_OCTET:
        return _DEFAULT
    return codec


def _strict_utf_8(octets: bytes) -> str | None:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _counts(octets: bytes) -> tuple[int, int]:
    """Return how many characters beyond ASCII ``octets`` have as UTF-8, and how many places are wrong."""
    text = octets.decode("utf-8", "replace")
    wrong = text.count(codecs.REPLACEMENT)
    return len(text) - len(text.encode("ascii", "ignore")) - wrong, wrong
