"""
The charsets that switch between alphabets by escape sequences: ISO-2022-JP, -KR and -CN, and HZ.

Python's codecs of these names know no NEC and IBM rows and no half-width kana in ISO-2022-JP (what Windows
calls cp50221), and give up a whole line for one wrong octet. Here each run of a two-octet alphabet becomes
text through one table, made from the codec of Windows for that alphabet by shifting its octets. Pure.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from attrs import define

_REPLACEMENT: Final = "\ufffd"
_ESCAPE: Final = re.compile(
    rb"(\x1b(?:\([A-Z@]|\$[@AB]|\$[()*+][@-Z]|\.[AF]|N[\x20-\x7f]|&@|[ -/][0-~])|[\x0e\x0f])"
)
_PAIRS: Final = re.compile(rb"((?:[\x21-\x7e]{2})++)")
_HZ: Final = re.compile(rb"~(?:\{((?:[\x21-\x7d][\x21-\x7e])*+)([\x21-\x7d]?)(~\}|\n)?|(~)|\r?\n)")
_KANA: Final = range(0x21, 0x60)
#: Half-width kana in seven bits, as those of Shift JIS.
_HALF_WIDTH: Final = bytes(octet | 0x80 if octet in _KANA else octet for octet in range(256))
#: What no pair is made of: a lone octet costs one character, blanks and controls are what they are.
_LONE: Final = dict.fromkeys((*range(0x21, 0x7F), *range(0x80, 0x100)), _REPLACEMENT)
#: The first row whose lead octet in Shift JIS lies above the half-width kana.
_SECOND_BLOCK: Final = 0x5F
#: JIS X 0201 is ASCII but for these two.
_ROMAN: Final = {0x5C: "¥", 0x7E: "‾"}

#: What octets that belong to no alphabet are read as: programs mix up the charsets of one country.
_EIGHT_BIT: Final = {"jp": "cp932", "kr": "cp949", "cn": "gb18030"}
#: Two octets of EUC-JP each, and one of them is no half-width kana of Shift JIS.
_EUC_JP: Final = re.compile(
    rb"(?=[^\xe0-\xfe]*+[\xe0-\xfe])(?:[\x00-\x7f]++|\x8e[\xa1-\xdf]|\x8f?[\xa1-\xfe]{2})++"
)
_SHIFTED_OUT: Final = {"jp": "(I", "kr": "$(C", "cn": "$(A"}


def decode(octets: bytes, country: str) -> str:
    """
    Return the text of ``octets``, which are ISO-2022 of the ``country`` ``jp``, ``kr`` or ``cn``.

    The alphabets of the other two are known as well (ISO-2022-JP-2). A shift out ends with its line.
    """
    state = _DecoderState(country, shifted_out=_SHIFTED_OUT[country])
    return "".join(
        state.escaped(piece) if index % 2 else state.text(piece)
        for index, piece in enumerate(_ESCAPE.split(octets))
        if piece
    )


@define
class _DecoderState:
    """
    Which alphabets the octets are in, by their escape sequences without ESC: G0, and G1 after a shift out.
    """

    country: str
    shifted_out: str
    alphabet: str = "(B"
    shifted: bool = False

    def escaped(self, sequence: bytes) -> str:
        """Follow an escape sequence or a shift; a single shift is a character itself."""
        if len(sequence) == 1:
            self.shifted = sequence == b"\x0e"
            return ""
        escape = sequence[1:].decode("ascii")
        if escape.startswith("N"):
            return chr(ord(escape[1]) | 0x80)
        if escape.startswith(("$)", "$*", "$+")):
            self.shifted_out = "$(" + escape[-1]
        elif escape.startswith(("$", "(")):
            self.alphabet = escape[0] + "(" * (escape[0] == "$") + escape[-1]
        return ""

    def text(self, octets: bytes) -> str:
        if not self.shifted:
            return self._read(self.alphabet, octets)
        line, end, rest = octets.partition(b"\n")
        if not end:
            return self._read(self.shifted_out, line)
        self.shifted = False
        return self._read(self.shifted_out, line) + self._read(self.alphabet, end + rest)

    def _read(self, alphabet: str, octets: bytes) -> str:
        if alphabet == "(I":
            return octets.translate(_HALF_WIDTH).decode("cp932", "replace")
        if alphabet.startswith("("):
            is_euc = self.country == "jp" and _EUC_JP.fullmatch(octets)
            text = octets.decode("euc_jp" if is_euc else _EIGHT_BIT[self.country], "replace")
            return text.translate(_ROMAN) if alphabet == "(J" else text
        if len(octets) == 1:
            return octets.decode("latin-1").translate(_LONE)
        return "".join(
            _pairs(alphabet, run) if index % 2 else run.decode("latin-1").translate(_LONE)
            for index, run in enumerate(_PAIRS.split(octets))
            if run
        )


def decode_hz(octets: bytes) -> str:
    """
    Return the text of ``octets``, which are HZ (RFC 1843); octets outside of ASCII are read as GB 18030.
    """
    text: list[str] = []
    at = 0
    for match in _HZ.finditer(octets):
        text.append(octets[at : match.start()].decode("gb18030", "replace"))
        pairs, half, end, tilde = match.groups(b"")
        text.append(_pairs("$(A", pairs) if pairs else tilde.decode("ascii"))
        text.append(_REPLACEMENT * len(half))
        text.append("\n" if end == b"\n" else "")
        at = match.end()
    text.append(octets[at:].decode("gb18030", "replace"))
    return "".join(text)


def jis_character(first: int, second: int) -> str:
    """Return the character of JIS X 0208 with the rows of NEC and IBM at these seven-bit octets."""
    character: str = _table("$(B")[first << 8 | second]
    return character


def _pairs(alphabet: str, run: bytes) -> str:
    # As UTF-16 the pairs are characters of their own, which one look-up each turns into the right ones.
    return run.decode("utf-16-be").translate(_table(alphabet))


class _CodeTable(dict[int, str]):
    """The characters of an alphabet by their two seven-bit octets, found when they are first asked for."""

    def __init__(self, alphabet: str) -> None:
        super().__init__()
        self._codec, self._shift = _ALPHABETS.get(alphabet, _NO_ALPHABET)

    def __missing__(self, key: int) -> str:
        try:
            self[key] = character = self._shift(key >> 8, key & 0xFF).decode(self._codec)
        except UnicodeDecodeError:
            self[key] = character = _REPLACEMENT
        return character


@cache
def _table(alphabet: str) -> Mapping[int, str]:
    """Return the characters of an alphabet; of an unknown one there are none."""
    return _CodeTable(alphabet)


def _euc(first: int, second: int) -> bytes:
    return bytes((first | 0x80, second | 0x80))


def _euc_supplement(first: int, second: int) -> bytes:
    return bytes((0x8F, first | 0x80, second | 0x80))


def _shift_jis(first: int, second: int) -> bytes:
    """Return the octets of Shift JIS for two of JIS: two rows of 94 in one of 188 (JIS X 0208, annex 1)."""
    lead = (first + 1) // 2 + (0x70 if first < _SECOND_BLOCK else 0xB0)
    odd = second + (0x1F if second in _KANA else 0x20)
    return bytes((lead, odd if first % 2 else second + 0x7E))


#: A codec of Python, and what it knows two seven-bit octets as.
_Alphabet = tuple[str, Callable[[int, int], bytes]]

#: No octet is ASCII then.
_NO_ALPHABET: Final[_Alphabet] = ("ascii", lambda _first, _second: b"\xff")

#: By the escape sequence without ESC.
_ALPHABETS: Final[Mapping[str, _Alphabet]] = {
    "$(@": ("cp932", _shift_jis),
    "$(A": ("gb18030", _euc),
    "$(B": ("cp932", _shift_jis),
    "$(C": ("cp949", _euc),
    "$(D": ("euc_jp", _euc_supplement),
    "$(O": ("euc_jis_2004", _euc),
    "$(P": ("euc_jis_2004", _euc_supplement),
    "$(Q": ("euc_jis_2004", _euc),
}
