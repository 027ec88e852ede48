"""
Control characters: which octets no text has, and how texts and lines are freed of them. Pure.
"""

import re
from typing import Final

#: Octets that no text has: tab, the line ends of all kinds and escape are in some.
_NO_TEXT: Final = bytes({*range(0x20)} - {*b"\t\n\v\f\r\x1b"}) + b"\x7f"

#: C0, DEL and C1.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
#: Those that stand for a blank; line separators would end a line for some readers.
_BLANKS: Final = dict.fromkeys((*b"\t\n\v\f\r", 0x2028, 0x2029), " ")

#: What JSON and people can do without in a text of many lines; a form feed is one, a line end is none.
_ASCII_IN_TEXT: Final = "".join(map(chr, {*range(0x20)} - {*b"\t\r\n"})) + "\x7f"
_IN_TEXT: Final = _ASCII_IN_TEXT + "".join(map(chr, {*range(0x80, 0xA0)} - {0x85}))
#: Number of characters that stay in the processor's nearest cache while they are searched.
_PIECE: Final = 16 * 1024


def holds_controls(octets: bytes) -> bool:
    """Tell whether there is an octet that no text has."""
    return len(octets.translate(None, _NO_TEXT)) < len(octets)


def in_one_line(text: str) -> str:
    """Return ``text`` in one line, without control characters, and without blanks around it."""
    if text.isprintable():  # sees it faster than a pattern does
        return text.strip()
    return _CONTROL.sub("", text.translate(_BLANKS)).strip()


def in_lines(text: str) -> str:
    """Return ``text`` without control characters but tab, CR and LF; what has none is not copied."""
    controls = _ASCII_IN_TEXT if text.isascii() else _IN_TEXT
    # To look for one character after the other takes a third of the time of one pass, and copies nothing.
    for at in range(0, len(text), _PIECE):
        piece = text[at : at + _PIECE]
        for control in controls:
            if control in piece:
                return _without(controls, text)
    return text


def _without(controls: str, text: str) -> str:
    if text.isascii():
        return text.encode("ascii").translate(None, controls.encode("ascii")).decode("ascii")
    return re.sub(f"[{controls}]", "", text)
