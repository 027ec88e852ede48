"""
One decoder for each charset of the table, none of which fails: what is no character becomes U+FFFD.

Python's codecs do the work. What they leave out is added here: the octets that Windows-1252 and its kin fill
where ISO 8859 has controls, the rows of NEC and IBM in EUC-JP, the end of UTF-7's surrogates. Pure.
"""

import codecs
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from typing import Final

from smtprelay.mime.charset import iso_2022, labels

REPLACEMENT: Final = "\ufffd"
_ISO_2022: Final = (labels.ISO_2022_CN, labels.ISO_2022_JP, labels.ISO_2022_KR)
MULTI_OCTET: Final = frozenset(
    (
        "big5hkscs",
        "cp932",
        "cp949",
        "euc_jis_2004",
        "euc_jp",
        "gb18030",
        "johab",
        "shift_jis_2004",
        *_ISO_2022,
    )
)
_WIDE: Final = (labels.UTF_16, labels.UTF_16_BE, labels.UTF_16_LE, "utf-32", "utf-32-be", "utf-32-le")
#: In these, octets of ASCII may mean something else.
NOT_ASCII: Final = frozenset((*_ISO_2022, *_WIDE, labels.HZ, labels.UTF_7))

#: Windows' page for the same letters: where ISO 8859 has the controls that no mail means, it has quotes and
#: dashes.
_PAGES: Final = {
    "iso8859-2": "cp1250",
    "iso8859-4": "cp1257",
    "iso8859-5": "cp1251",
    "iso8859-6": "cp1256",
    "iso8859-7": "cp1253",
    "iso8859-8": "cp1255",
    "iso8859-13": "cp1257",
    "iso8859-16": "cp1250",
}
_C1: Final = range(0x80, 0xA0)
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
#: Python reads JIS and Big5 as Unicode's first tables did, the standard as Windows does.
_JAPANESE: Final = dict(zip("〜‖−¢£¬", "～∥－￠￡￢", strict=True))
_BIG5: Final = dict(zip("•､‾∼♁☉¥¢£", "‧﹑¯～⊕⊙￥￠￡", strict=True))
#: Python has GB 18030 of 2000, in which these were not in Unicode yet.
_GB_18030: Final = dict(
    zip(
        "\ue5e5\ue78d\ue78e\ue78f\ue790\ue791\ue792\ue793\ue794\ue795\ue796\ue7c7\ue81e\ue826\ue82b\ue82c\ue832\ue843"
        "\ue854\ue864",
        "\u3000\ufe10\ufe12\ufe11\ufe13\ufe14\ufe15\ufe16\ufe17\ufe18\ufe19\u1e3f\u9fb4\u9fb5\u9fb6\u9fb7\u9fb8\u9fb9"
        "\u9fba\u9fbb",
        strict=True,
    )
)
#: Octets that Python reads otherwise than the standard, or not at all.
_OWN: Final = {"koi8-u": {0xAE: "ў", 0xBE: "Ў"}, "cp1255": {0xCA: "\u05ba"}}
#: What Windows has for octets that are no character.
_CP932: Final = dict.fromkeys("\uf8f0\uf8f1\uf8f2\uf8f3", REPLACEMENT)
_HIGH: Final = range(0xA1, 0xFF)
_BIG5_KANA: Final = range(0xC6, 0xC9)
_PAIR: Final = 2
#: The first octet of a pair; and the second, but for ASCII, which is likelier to be just that.
_LEADS: Final = frozenset((*range(0x81, 0xA0), *range(0xA1, 0xFD)))
_TRAILS: Final = range(0x80, 0xFF)
#: A character of UTF-8 with a line end in it.
_BROKEN: Final = re.compile(rb"([\xc2-\xf4][\x80-\xbf]{0,2}+)(\r?\n)([\x80-\xbf]{1,3}+)")
_CORRECT: Final = "smtprelay.correct"
#: If more than each eighth octet is wrong the text is of another charset: to correct each by itself would
#: help nobody, and take long.
_MAX_WRONG: Final = 1 / 8
_SHORT: Final = 4096


def decode(octets: bytes, codec: str) -> str:
    """Return ``octets`` as text; ``codec`` is one of those that :func:`.labels.codec_of` names."""
    if codec in _DECODERS:
        return _DECODERS[codec](octets)
    if codec in MULTI_OCTET or codec.startswith("utf-"):
        text = _corrected(octets, codec)
        for character, right in _RIGHT.get(codec, {}).items():
            text = text.replace(character, right)
        return text
    return codecs.charmap_decode(octets, "strict", _characters(codec))[0]


def _corrected(octets: bytes, codec: str) -> str:
    """Decode by a codec of Python, and by :func:`_correct` what it does not take."""
    try:
        return octets.decode(codec)
    except UnicodeDecodeError:
        text = octets.decode(codec, "replace")
    if len(octets) > _SHORT and text.count(REPLACEMENT) > len(octets) * _MAX_WRONG:
        return text
    return octets.decode(codec, _CORRECT)


@cache
def _characters(codec: str) -> str:
    page = _PAGES.get(codec, "cp1252" if codec.startswith("iso8859") else codec)
    characters = []
    for octet in range(256):
        own = bytes((octet,)).decode(codec, "replace")
        if page != codec and (octet in _C1 or (own == REPLACEMENT and codec == "iso8859-8")):
            own = bytes((octet,)).decode(page, "replace")
        characters.append(_OWN.get(codec, {}).get(octet, own))
    return "".join(characters)


def _utf_7(octets: bytes) -> str:
    return _SURROGATE.sub(REPLACEMENT, _corrected(octets, "utf-7"))


def _utf_16(octets: bytes) -> str:
    """Decode UTF-16 whose order nothing says: most text is of characters whose high octet is zero."""
    big = octets[0::2].count(0) > octets[1::2].count(0)
    return _corrected(octets, labels.UTF_16_BE if big else labels.UTF_16_LE)


#: Characters that Python's codecs read otherwise than the standard.
_RIGHT: Final[Mapping[str, Mapping[str, str]]] = {
    "big5hkscs": _BIG5,
    "cp932": _CP932,
    "euc_jp": _JAPANESE,
    "gb18030": _GB_18030,
}
_DECODERS: Final[Mapping[str, Callable[[bytes], str]]] = {
    labels.HZ: iso_2022.decode_hz,
    labels.ISO_2022_CN: partial(iso_2022.decode, country="cn"),
    labels.ISO_2022_JP: partial(iso_2022.decode, country="jp"),
    labels.ISO_2022_KR: partial(iso_2022.decode, country="kr"),
    labels.UTF_7: _utf_7,
    labels.UTF_16: _utf_16,
}


def _correct(error: UnicodeError) -> tuple[str, int]:
    """Answer a codec of Python that met a wrong octet: with its character, and where to go on."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    correct = _CORRECTIONS.get(error.encoding)
    found = correct(error.object, error.start, error.end) if correct else None
    return found or (REPLACEMENT, error.end)


def _mend_utf_8(octets: bytes, start: int, end: int) -> tuple[str, int] | None:
    """
    Read a lone octet in UTF-8 as Windows-1252: texts are pasted together.

    The beginning of a character that was cut off is wrong, as is an octet that no text has. A character that
    some server broke by a line end, because its line was too long, is put together again.
    """
    broken = _BROKEN.match(octets, start)
    if broken is not None:
        with suppress(UnicodeDecodeError):
            return (broken[1] + broken[3]).decode("utf-8") + broken[2].decode("ascii"), broken.end()
    octet = octets[start]
    cut_off = end - start > 1 or octet in b"\xc2\xc3" or (end == len(octets) and octet in range(0xC4, 0xF5))
    if cut_off or octet in b"\xfe\xff":
        return None
    return octets[start:end].decode("cp1252", "replace"), end


def _mend_euc_jp(octets: bytes, start: int, end: int) -> tuple[str, int] | None:
    """Read the rows of NEC and IBM."""
    del end
    pair = octets[start : start + 2]
    if len(pair) < _PAIR or any(octet not in _HIGH for octet in pair):
        return None
    return iso_2022.jis_character(pair[0] & 0x7F, pair[1] & 0x7F), start + 2


def _mend_big5(octets: bytes, start: int, end: int) -> tuple[str, int] | None:
    """Read the characters of Windows' Big5 that Big5-HKSCS lacks; its kana are in other places."""
    text = octets[start : start + 2].decode("cp950", "ignore")
    if len(text) == 1 and not text.isascii() and octets[start] not in _BIG5_KANA:
        return text, start + 2
    return _mend_pair(octets, start, end)


def _mend_pair(octets: bytes, start: int, end: int) -> tuple[str, int] | None:
    """Take two octets that could be a character, but are none, as one, so that what follows stays in step."""
    del end
    pair = octets[start : start + 2]
    if pair[0] in _LEADS and pair[-1] in _TRAILS and len(pair) == _PAIR:
        return REPLACEMENT, start + 2
    return None


def _mend_gb18030(octets: bytes, start: int, end: int) -> tuple[str, int] | None:
    """Read the euro sign of Windows' GBK."""
    return ("€", end) if octets[start:end] == b"\x80" else None


_CORRECTIONS: Final[Mapping[str, Callable[[bytes, int, int], tuple[str, int] | None]]] = {
    "big5hkscs": _mend_big5,
    "cp932": _mend_pair,
    "cp949": _mend_pair,
    "euc_jp": _mend_euc_jp,
    "gb18030": _mend_gb18030,
    "johab": _mend_pair,
    "utf-8": _mend_utf_8,
}
codecs.register_error(_CORRECT, _correct)
