"""
Text as RFC 2047 encoded words, and parameters as RFC 2231 has them: what a header says in ASCII. Pure.
"""

import binascii
from collections.abc import Callable, Iterator, Mapping
from typing import Final

_LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#: Octets that stand for themselves in an encoded word, wherever the word stands (RFC 2047 §5).
_IN_WORD: Final = {octet: chr(octet) for octet in _LETTERS + b"!*+-/"} | {0x20: "_"}
#: Those of a parameter that is encoded (RFC 2231 §7).
_IN_PARAMETER: Final = {octet: chr(octet) for octet in _LETTERS + b"!#$&+-.^_`{|}~"}
#: How each octet is spelled there.
_ESCAPED: Final = [_IN_WORD.get(octet) or f"={octet:02X}" for octet in range(256)]
_PERCENT: Final = [_IN_PARAMETER.get(octet) or f"%{octet:02X}" for octet in range(256)]
#: An encoded word has at most 75 characters; these are left for its text.
_ROOM: Final = 75 - len("=?utf-8?q??=")
#: The octets in that number of base64 characters.
_OCTETS: Final = _ROOM // 4 * 3

#: A longer parameter is divided into sections of at most this many characters.
_MAX_PARAMETER: Final = 500
_SECTION: Final = 60


def encoded_words(text: str) -> list[str]:
    """Return the words that say ``text``; the blanks between two of them say nothing."""
    octets = text.encode("utf-8", "replace")
    escaped = len(octets) + 2 * sum(octet not in _IN_WORD for octet in octets)
    if escaped <= max(len(octets) * 4 // 3, _ROOM):
        return [f"=?utf-8?q?{spelled}?=" for spelled in _divided(text, _escaped, _ROOM)]
    return [f"=?utf-8?b?{_base64(piece)}?=" for piece in _divided(text, _plain, _OCTETS)]


def parameters(given: Mapping[str, str]) -> list[str]:
    """Return each as ``name=value``; as RFC 2231 has it, if it is long or not ASCII, but for a boundary."""
    return [section for name, value in given.items() for section in _parameter(name, value)]


def _parameter(name: str, value: str) -> Iterator[str]:
    plain = len(value) <= _MAX_PARAMETER and value.isascii() and value.isprintable() and "=?" not in value
    if plain or name == "boundary":
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        yield f'{name}="{quoted}"'
        return
    sections = list(_divided(value, _percent, _SECTION))
    if len(sections) == 1:
        yield f"{name}*=utf-8''{sections[0]}"
        return
    for n, section in enumerate(sections):
        charset = "" if n else "utf-8''"
        yield f"{name}*{n}*={charset}{section}"


def _divided(text: str, spell: Callable[[bytes], str], room: int) -> Iterator[str]:
    """Give ``text`` as ``spell`` spells it, in pieces with room for them, and never within a character."""
    piece: list[str] = []
    left = room
    for character in text:
        spelled = spell(character.encode("utf-8", "replace"))
        if len(spelled) > left:
            yield "".join(piece)
            piece, left = [], room
        piece.append(spelled)
        left -= len(spelled)
    yield "".join(piece)


def _escaped(character: bytes) -> str:
    return "".join([_ESCAPED[octet] for octet in character])


def _percent(character: bytes) -> str:
    return "".join([_PERCENT[octet] for octet in character])


def _plain(character: bytes) -> str:
    return character.decode("latin-1")


def _base64(piece: str) -> str:
    return binascii.b2a_base64(piece.encode("latin-1"), newline=False).decode("ascii")
