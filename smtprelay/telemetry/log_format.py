"""
The lines of the log, as JSON and as text.

Text from clients and providers can neither begin a new line nor control the terminal; fields that are named
like a secret are not written.
"""

import json
import re
import traceback
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import orjson

#: Types of values in which nothing is hidden.
_OPEN: Final = frozenset({str, int, float, bool, type(None)})

#: The most calls and characters of a traceback that are written.
_FRAMES: Final = 20
_LONGEST: Final = 8000

#: Written instead of a secret.
REDACTED: Final = "[redacted]"

_SECRET = re.compile(
    r"passw|passphrase|secret|authorization|credential|token|cookie|private_?key|access_?key|api_?key"
    r"|connection_?string",
    re.IGNORECASE,
)

_COLOURS: Final = {
    "debug": "\x1b[2m",
    "info": "",
    "warn": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[1;31m",
}
_PLAIN: Final = "\x1b[0m"


@lru_cache(maxsize=1024)
def is_secret(name: str) -> bool:
    """Return whether a field called ``name`` may hold a secret."""
    return _SECRET.search(name) is not None


def redacted(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``fields`` without those that are named like a secret, also in dictionaries within them."""
    if not _secrets(tuple(fields)) and _OPEN.issuperset(map(type, fields.values())):
        return dict(fields)
    return {
        name: REDACTED if is_secret(str(name)) else redacted(value) if isinstance(value, dict) else value
        for name, value in fields.items()
    }


@lru_cache(maxsize=1024)
def _secrets(names: tuple[Any, ...]) -> bool:
    """Return whether one of ``names`` may be that of a secret; events of one kind have the same names."""
    return any(is_secret(str(name)) for name in names)


def printable(text: str) -> str:
    r"""Return ``text`` with everything that is no visible character as an escape (``\n``, ``\x1b``)."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def flattened(error: object) -> str:
    """
    Return the traceback of an exception or a ``Failure`` as one string; a string is returned as it is.

    A long one is cut in the middle: its end says what happened.
    """
    if hasattr(error, "getTraceback"):  # a Failure is an exception, too, but hides the traceback
        text = str(error.getTraceback())
    elif isinstance(error, BaseException):
        text = "".join(traceback.format_exception(error, limit=-_FRAMES))
    else:
        text = str(error)
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 4]}\n…\n{text[-_LONGEST * 3 // 4 :]}"
    return text.rstrip()


def timestamp(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC, with milliseconds."""
    # A float may be a little below the millisecond that is meant.
    whole, milliseconds = divmod(int(seconds * 1000 + 0.001), 1000)
    return f"{_second(whole)}.{milliseconds:03}Z"


@lru_cache(maxsize=8)
def _second(whole: int) -> str:
    """Return the time without its fraction: many lines are written in one second."""
    return datetime.fromtimestamp(whole, UTC).isoformat().removesuffix("+00:00")


def json_line(ts: str, level: str, event: str, msg: str, fields: Mapping[str, Any]) -> str:
    """
    Return one flat JSON object, in ASCII, with its line end.

    A field called ``ts``, ``level``, ``event`` or ``msg`` gets an underscore behind its name. Values that
    JSON does not have are written as text.
    """
    line: dict[str, Any] = {"ts": ts, "level": level, "event": event, "msg": msg}
    if _HEAD.isdisjoint(fields):
        line.update(fields)
    else:
        line.update((f"{name}_" if name in _HEAD else name, value) for name, value in fields.items())
    with suppress(TypeError):  # a key or a text that UTF-8 does not know
        text = orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE)
        if text.isascii() and _DELETE not in text:
            return text.decode("ascii")
    try:
        return _ENCODER.encode(line) + "\n"
    except (TypeError, ValueError):  # a key that is no text, NaN, a loop
        return _ENCODER.encode({name: str(value) for name, value in line.items()}) + "\n"


def text_line(ts: str, level: str, event: str, msg: str, exc: str, *, colour: bool) -> str:
    """
    Return the line for a terminal: time, level, event and message in columns.

    A traceback follows, each of its lines behind a bar, so that none looks like an event.
    """
    start, end = (_COLOURS.get(level, ""), _PLAIN) if colour else ("", "")
    line = f"{start}{ts} {level:<8} {event:<18} {printable(msg)}{end}\n"
    return line + "".join(f"    | {printable(row)}\n" for row in exc.splitlines())


#: The one control character that orjson writes as it is.
_DELETE: Final = b"\x7f"

_HEAD: Final = frozenset({"ts", "level", "event", "msg"})
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=str)
