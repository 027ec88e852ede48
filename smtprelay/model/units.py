"""
Durations and sizes as people write them, the same in the configuration and on the command line. Pure.

It imports nothing dear, because every command waits for it.
"""

import re
from typing import Final

NUMBER: Final = r"([0-9]{1,15}(?:\.[0-9]{1,9})?)"
SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
#: A unit of time as people write it who have not read how.
SPOKEN_UNIT: Final = r"(s|sec|secs|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"

_POWERS: Final = {"K": 1, "M": 2, "G": 3, "T": 4}
_DURATION: Final = re.compile(NUMBER + r" ?(ms|s|m|min|h|d|w)")
_SIZE: Final = re.compile(NUMBER + r" ?(?:([KMGT])(I?))?B?", re.IGNORECASE)
_SPOKEN_DURATION: Final = re.compile(rf"{NUMBER}(?: {{0,9}}{SPOKEN_UNIT})?")
_OTHER_UNIT: Final = re.compile(r"[0-9. ]+/?[0-9. ]*([^\W\d_]+)")
_SHOWN: Final = 60
_SPANS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_SIZES: Final = (
    (1 << 30, "GiB"),
    (10**9, "GB"),
    (1 << 20, "MiB"),
    (10**6, "MB"),
    (1 << 10, "KiB"),
    (10**3, "KB"),
    (1, ""),
)


class InvalidNotation(ValueError):  # noqa: N818 -- what it is, in one word
    """
    A value in another notation than ours, whose meaning is clear.

    :ivar what: the sentence up to what is to be written.
    :ivar instead: what is to be written.
    """

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(f"{what}: write {instead}")
        self.what = what
        self.instead = instead


def parse_duration(text: str) -> float:
    """``30s``, ``5m``, ``1.5h``, ``2d``, and ``0``; seconds."""
    match = _DURATION.fullmatch(text)
    if match:
        return float(match[1]) * SECONDS[match[2]]
    if text == "0":
        return 0.0
    if spoken := _SPOKEN_DURATION.fullmatch(text.lower()):
        number = spoken[1]
        if not spoken[2]:
            raise ValueError(f'"{text}" is not a duration: give a unit: {number}s, {number}m or {number}h')
        raise InvalidNotation(f'"{text}" is not a duration', f"{number}{spoken[2][:1]}")
    raise ValueError(f'"{shortened(text)}" is not a duration: {expected_time(text, "30s, 5m, 4h or 2d")}')


def parse_size(text: str) -> int:
    """``2048``, ``512B``, ``10MB`` or ``10M`` (powers of 1000), ``25MiB`` (powers of 1024); bytes."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(
            f'"{text}" is not a size: expected a number and a unit, such as 10MB, 25MiB or 10GiB'
        )
    if re.fullmatch(NUMBER, text) and 0 < float(text) < 1000:  # noqa: PLR2004 -- nobody limits anything to so few bytes
        raise ValueError(f'"{text}" is a size in bytes: give a unit: {text}B, {text}KB or {text}MB')
    power = _POWERS[match[2].upper()] if match[2] else 0
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


def spell_duration(seconds: float) -> str:
    """Return ``seconds`` as :func:`parse_duration` reads them, in the largest unit that divides them."""
    if seconds % 1:
        return f"{seconds:g}s"
    size, unit = next((pair for pair in _SPANS if seconds and not seconds % pair[0]), (1, "s"))
    return f"{int(seconds) // size}{unit}"


def spell_size(count: int) -> str:
    """Return ``count`` bytes as :func:`parse_size` reads them, in the largest unit that divides them."""
    size, unit = next((pair for pair in _SIZES if count and not count % pair[0]), (1, ""))
    return f"{count // size}{unit}"


def expected_time(text: str, examples: str) -> str:
    """Return what a duration or rate looks like; an unknown unit in ``text`` is named."""
    other = _OTHER_UNIT.fullmatch(text)
    unknown = f'"{shortened(other[1])}" is not s, m, h or d; ' if other and other[1] not in SECONDS else ""
    return f"{unknown}expected one such as {examples}"


def shortened(text: str) -> str:
    """Return ``text`` on one line, cut to what a sentence has room for."""
    line = text.replace("\n", " ")
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"
