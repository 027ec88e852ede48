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

#: Not decoded by a codec of Python, but by :mod:`smtprelay.mime.charset`.
ASCII: Final = "ascii"
UTF_7: Final = "utf-7"
UTF_16: Final = "utf-16"
UTF_16_LE: Final = "utf-16-le"
UTF_16_BE: Final = "utf-16-be"
HZ: Final = "hz"
ISO_2022_JP: Final = "iso-2022-jp"
ISO_2022_KR: Final = "iso-2022-kr"
ISO_2022_CN: Final = "iso-2022-cn"

_MAX_LABEL: Final = 100
_EDGES: Final = " \t\r\n\"'<>=,;"
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+ -]*")
#: What may stand before the name itself, and the year of an ISO standard behind it.
_PREFIX: Final = re.compile(r"^(?:x-|cs(?=iso|utf|ibm|windows))")
_YEAR: Final = re.compile(r":(?:19|20)\d\d$")
_ISO_8859: Final = re.compile(r"(?:iso)?8859(\d{1,2})[ie]?")
_LATIN: Final = re.compile(r"(?:iso)?latin(10|[1-9])")
_CODE_PAGE: Final = re.compile(r"(?:cp|windows|win|ms|ibm|dos|codepage|oem|ansi|cpwindows)0{0,4}(\d{3,5})")

#: The labels of each codec, in lower case without punctuation; Windows and IBM number theirs (``cp932``).
#: ``us-ascii`` is what programs write that know nothing of charsets.
_LABELS: Final = {
    ASCII: "ascii usascii ansix341968 ansix341986 iso646 iso646us iso646irv isoir6 us cp367 cp20127",
    "iso8859-2": "cp912",
    "iso8859-5": "cp915",
    "iso8859-6": "cp708",
    "iso8859-7": "cp813",
    "iso8859-8": "cp916 cp38598",
    "iso8859-15": "cp923",
    "cp874": "iso885911 tis620 tis6202533 thai cp874",
    "cp1252": "8859 iso8859 ansi western cp819",
    "cp1254": "cp920",
    "cp1258": "tcvn",
    "big5hkscs": "big5 big5eten big5hkscs2004 cp950 cp951 cp51950",
    "euc_jp": "eucjp eucjpms eucjpwin ujis cp20932 cp51932",
    "euc_jis_2004": "eucjis2004 eucjisx0213",
    "cp932": "shiftjis sjis sjiswin mskanji windows31j cp932 cp943",
    "shift_jis_2004": "shiftjisx0213 shiftjis2004",
    "cp949": "euckr ksc56011987 ksc56011992 ksc5601 ks5601 ksx1001 uhc korean cp949 cp20949 cp51949",
    "johab": "johab ksc5601johab cp1361",
    "gb18030": "euccn gb18030 gb180302000 gb180302005 gb180302022 gb2312 gb231280 gbk gb chinese"
    " cp936 cp1383 cp1386 cp20936 cp51936 cp54936",
    HZ: "hz hzgb2312 hzgb cp52936",
    ISO_2022_CN: "iso2022cn iso2022cnext cp50227",
    ISO_2022_JP: "iso2022jp iso2022jp1 iso2022jp2 iso2022jp3 iso2022jp2004 iso2022jpext iso2022jpms jis jis7"
    " cp50220 cp50221 cp50222",
    ISO_2022_KR: "iso2022kr cp50225",
    "koi8-r": "koi8 koi8r cp20866 cp20878",
    "koi8-u": "koi8ru koi8u cp21866",
    "koi8-t": "koi8t",
    "mac-roman": "macintosh macroman mac cp10000",
    "mac-cyrillic": "maccyrillic macukrainian cp10007",
    "mac-latin2": "macce maccentraleurope maccentraleurroman cp10029",
    "mac-greek": "macgreek cp10006",
    "mac-turkish": "macturkish",
    "mac-iceland": "macicelandic",
    "mac-croatian": "maccroatian",
    "mac-romanian": "macromanian",
    "ptcp154": "ptcp154",
    "hp-roman8": "hproman8",
    "utf-8": "utf utf8 utf8bom utf8sig utf8mb3 utf8mb4 cp65001",
    UTF_7: "utf7 unicode11utf7 unicode20utf7 cp65000",
    UTF_16: "unicode utf16 ucs2 iso10646ucs2",
    UTF_16_LE: "utf16le cp1200",
    UTF_16_BE: "utf16be cp1201",
    "utf-32": "utf32 ucs4 iso10646ucs4",
    "utf-32-le": "utf32le",
    "utf-32-be": "utf32be",
}
_CODECS: Final = {label: codec for codec, labels in _LABELS.items() for label in labels.split()}

#: Pages that Python knows by their number.
_PAGES: Final = frozenset(
    (437, 720, 737, 775, 850, 852, 855, 856, 857, 858, *range(860, 867), 869, 1006, 1125, *range(1250, 1259))
)
#: Windows' number of ISO 8859-1, less one.
_ISO_8859_PAGES: Final = 28590

_ISO_8859_CODECS: Final = {
    number: f"iso8859-{number}" for number in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)
} | {1: "cp1252", 9: "cp1254", 11: "cp874"}
#: ISO 8859's part numbers by that of the Latin alphabet, where they differ.
_LATINS: Final = {5: 9, 6: 10, 7: 13, 8: 14, 9: 15, 10: 16}

#: Names of the standard that stand for no charset: private fonts, and what browsers refuse to decode.
_NOT_TAKEN: Final = frozenset({"x-user-defined", "replacement"})


@lru_cache(maxsize=256)
def codec_of(label: str) -> str | None:
    """Return the codec for a label; ``None`` if the label is unknown."""
    found = _LABEL.search(label[:_MAX_LABEL].strip(_EDGES).lower())
    if found is None:
        return None
    name = found[0].rstrip(" .:+-_")
    codec = _by_mail_name(name)
    if codec is None and " " in name:  # ``utf-8 format=flowed``, but first ``windows 1252``
        return codec_of(name.partition(" ")[0])
    return codec or _by_web_label(name)


def _by_mail_name(name: str) -> str | None:
    for form in (name, _PREFIX.sub("", _YEAR.sub("", name))):
        letters = re.sub(r"[^a-z0-9]", "", form)
        if letters in _CODECS:
            return _CODECS[letters]
        for pattern, codec in ((_ISO_8859, _iso_8859), (_LATIN, _latin), (_CODE_PAGE, _code_page)):
            match = pattern.fullmatch(letters)
            if match is not None:
                return codec(int(match[1]))
    return None


def _code_page(number: int) -> str | None:
    if number in _PAGES:
        return f"cp{number}"
    return _CODECS.get(f"cp{number}") or _iso_8859(number - _ISO_8859_PAGES)


def _iso_8859(number: int) -> str | None:
    return _ISO_8859_CODECS.get(number)


def _latin(number: int) -> str | None:
    return _ISO_8859_CODECS.get(_LATINS.get(number, number))


def _by_web_label(name: str) -> str | None:
    encoding = webencodings.lookup(name)
    if encoding is None or encoding.name in _NOT_TAKEN:
        return None
    return _CODECS.get(re.sub(r"[^a-z0-9]", "", encoding.name)) or str(encoding.codec_info.name)
