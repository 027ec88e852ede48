"""
Which charset a label means.

The labels of the WHATWG encoding standard come from ``webencodings``; this module adds what only mail knows:
charsets that the web gave up (ISO-2022-KR, HZ, UTF-7), code pages by their number, and the many
spellings of mail programs. A label never reaches Python's own look-up, which also knows codecs that
are no charsets (punycode, idna, rot13, zlib) or cost far more than their input. Pure.
"""

import re
from functools import lru_cache
from typing import Final

import webencodings

#: Not decoded by a codec of Python: see :mod:`smtprelay.mime.charset`.
ASCII: Final = "ascii"
UTF_7: Final = "utf-7"
UTF_16: Final = "utf-16"
UTF_16_LE: Final = "utf-16-le"
UTF_16_BE: Final = "utf-16-be"
HZ: Final = "hz"
ISO_2022_JP: Final = "iso-2022-jp"
ISO_2022_KR: Final = "iso-2022-kr"
ISO_2022_CN: Final = "iso-2022-cn"

_LONGEST: Final = 100
_EDGES: Final = " \t\r\n\"'<>=,;"
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+ -]*")
#: What may stand before the name itself, and the year of an ISO standard behind it.
_PREFIX: Final = re.compile(r"^(?:x-|cs(?=iso|utf|ibm|windows))")
_YEAR: Final = re.compile(r":(?:19|20)\d\d$")
_ISO_8859: Final = re.compile(r"(?:iso)?8859(\d{1,2})[ie]?")
_LATIN: Final = re.compile(r"(?:iso)?latin(10|[1-9])")
_CODE_PAGE: Final = re.compile(r"(?:cp|windows|win|ms|ibm|dos|codepage|oem|ansi|cpwindows)0{0,4}(\d{3,5})")

#: By the label in lower case without punctuation. ``us-ascii`` is what programs say that know nothing of
#: charsets.
_ALIASES: Final = {
    "ascii": ASCII,
    "usascii": ASCII,
    "ansix341968": ASCII,
    "ansix341986": ASCII,
    "iso646": ASCII,
    "iso646us": ASCII,
    "iso646irv": ASCII,
    "isoir6": ASCII,
    "us": ASCII,
    "iso885911": "cp874",
    "tis620": "cp874",
    "tis6202533": "cp874",
    "thai": "cp874",
    "8859": "cp1252",
    "iso8859": "cp1252",
    "ansi": "cp1252",
    "western": "cp1252",
    "big5": "big5hkscs",
    "big5eten": "big5hkscs",
    "big5hkscs2004": "big5hkscs",
    "eucjp": "euc_jp",
    "eucjpms": "euc_jp",
    "eucjpwin": "euc_jp",
    "ujis": "euc_jp",
    "eucjis2004": "euc_jis_2004",
    "eucjisx0213": "euc_jis_2004",
    "shiftjis": "cp932",
    "shiftjisx0213": "shift_jis_2004",
    "shiftjis2004": "shift_jis_2004",
    "sjis": "cp932",
    "sjiswin": "cp932",
    "mskanji": "cp932",
    "windows31j": "cp932",
    "euckr": "cp949",
    "ksc56011987": "cp949",
    "ksc56011992": "cp949",
    "ksc5601": "cp949",
    "ks5601": "cp949",
    "ksx1001": "cp949",
    "uhc": "cp949",
    "korean": "cp949",
    "johab": "johab",
    "ksc5601johab": "johab",
    "euccn": "gb18030",
    "gb18030": "gb18030",
    "gb180302000": "gb18030",
    "gb180302005": "gb18030",
    "gb180302022": "gb18030",
    "gb2312": "gb18030",
    "gb231280": "gb18030",
    "gbk": "gb18030",
    "gb": "gb18030",
    "chinese": "gb18030",
    "hz": HZ,
    "hzgb2312": HZ,
    "hzgb": HZ,
    "iso2022cn": ISO_2022_CN,
    "iso2022cnext": ISO_2022_CN,
    "iso2022jp": ISO_2022_JP,
    "iso2022jp1": ISO_2022_JP,
    "iso2022jp2": ISO_2022_JP,
    "iso2022jp3": ISO_2022_JP,
    "iso2022jp2004": ISO_2022_JP,
    "iso2022jpext": ISO_2022_JP,
    "iso2022jpms": ISO_2022_JP,
    "jis": ISO_2022_JP,
    "jis7": ISO_2022_JP,
    "iso2022kr": ISO_2022_KR,
    "koi8": "koi8-r",
    "koi8r": "koi8-r",
    "koi8ru": "koi8-u",
    "koi8t": "koi8-t",
    "koi8u": "koi8-u",
    "macintosh": "mac-roman",
    "macroman": "mac-roman",
    "mac": "mac-roman",
    "maccyrillic": "mac-cyrillic",
    "macukrainian": "mac-cyrillic",
    "macce": "mac-latin2",
    "maccentraleurope": "mac-latin2",
    "maccentraleurroman": "mac-latin2",
    "macgreek": "mac-greek",
    "macturkish": "mac-turkish",
    "macicelandic": "mac-iceland",
    "maccroatian": "mac-croatian",
    "macromanian": "mac-romanian",
    "ptcp154": "ptcp154",
    "tcvn": "cp1258",
    "hproman8": "hp-roman8",
    "utf": "utf-8",
    "utf7": UTF_7,
    "unicode11utf7": UTF_7,
    "unicode20utf7": UTF_7,
    "utf8": "utf-8",
    "utf8bom": "utf-8",
    "utf8sig": "utf-8",
    "utf8mb3": "utf-8",
    "utf8mb4": "utf-8",
    "unicode": UTF_16,
    "utf16": UTF_16,
    "ucs2": UTF_16,
    "iso10646ucs2": UTF_16,
    "utf16le": UTF_16_LE,
    "utf16be": UTF_16_BE,
    "utf32": "utf-32",
    "utf32le": "utf-32-le",
    "utf32be": "utf-32-be",
    "ucs4": "utf-32",
    "iso10646ucs4": "utf-32",
}

#: Windows numbers its charsets; 1250 to 1258 and the old IBM pages follow below.
_CODE_PAGES: Final = {
    367: ASCII,
    20127: ASCII,
    819: "cp1252",
    1200: UTF_16_LE,
    1201: UTF_16_BE,
    65000: UTF_7,
    65001: "utf-8",
    708: "iso8859-6",
    813: "iso8859-7",
    874: "cp874",
    912: "iso8859-2",
    915: "iso8859-5",
    916: "iso8859-8",
    920: "cp1254",
    923: "iso8859-15",
    932: "cp932",
    943: "cp932",
    936: "gb18030",
    949: "cp949",
    950: "big5hkscs",
    951: "big5hkscs",
    1361: "johab",
    1383: "gb18030",
    1386: "gb18030",
    10000: "mac-roman",
    10006: "mac-greek",
    10007: "mac-cyrillic",
    10029: "mac-latin2",
    20866: "koi8-r",
    20878: "koi8-r",
    20932: "euc_jp",
    20936: "gb18030",
    20949: "cp949",
    21866: "koi8-u",
    38598: "iso8859-8",
    50220: ISO_2022_JP,
    50221: ISO_2022_JP,
    50222: ISO_2022_JP,
    50225: ISO_2022_KR,
    50227: ISO_2022_CN,
    51932: "euc_jp",
    51936: "gb18030",
    51949: "cp949",
    51950: "big5hkscs",
    52936: HZ,
    54936: "gb18030",
}
_CODE_PAGES.update({number: f"cp{number}" for number in range(1250, 1259)})
_CODE_PAGES.update(
    {
        number: f"cp{number}"
        for number in (437, 720, 737, 775, 850, 852, 855, 856, 857, 858, *range(860, 867), 869, 1006, 1125)
    }
)

_ISO_8859_CODECS: Final = {
    number: f"iso8859-{number}" for number in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)
} | {1: "cp1252", 9: "cp1254", 11: "cp874"}
_CODE_PAGES.update({28590 + number: codec for number, codec in _ISO_8859_CODECS.items()})
#: ISO 8859's part numbers by that of the Latin alphabet, where they differ.
_LATINS: Final = {5: 9, 6: 10, 7: 13, 8: 14, 9: 15, 10: 16}

#: The web's names whose octets mean nothing to a person (a font of somebody's), or are not decoded at all.
_NOT_TAKEN: Final = frozenset({"x-user-defined", "replacement"})


@lru_cache(maxsize=256)
def codec_of(label: str) -> str | None:
    """Return the codec that decodes what is labelled so; ``None``: nobody knows what the label means."""
    found = _LABEL.search(label[:_LONGEST].strip(_EDGES).lower())
    if found is None:
        return None
    name = found[0].rstrip(" .:+-_")
    codec = _of_the_mail_world(name)
    if codec is None and " " in name:  # ``utf-8 format=flowed``, but first ``windows 1252``
        return codec_of(name.partition(" ")[0])
    return codec or _of_the_web(name)


def _of_the_mail_world(name: str) -> str | None:
    for form in (name, _PREFIX.sub("", _YEAR.sub("", name))):
        letters = re.sub(r"[^a-z0-9]", "", form)
        if letters in _ALIASES:
            return _ALIASES[letters]
        for pattern, codec in ((_ISO_8859, _iso_8859), (_LATIN, _latin), (_CODE_PAGE, _CODE_PAGES.get)):
            match = pattern.fullmatch(letters)
            if match is not None:
                return codec(int(match[1]))
    return None


def _iso_8859(number: int) -> str | None:
    return _ISO_8859_CODECS.get(number)


def _latin(number: int) -> str | None:
    return _ISO_8859_CODECS.get(_LATINS.get(number, number))


def _of_the_web(name: str) -> str | None:
    encoding = webencodings.lookup(name)
    if encoding is None or encoding.name in _NOT_TAKEN:
        return None
    return _ALIASES.get(re.sub(r"[^a-z0-9]", "", encoding.name)) or str(encoding.codec_info.name)
