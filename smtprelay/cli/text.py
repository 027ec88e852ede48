"""
Text that goes in and out: files, standard input, and ages, sizes and times as people read them.

Senders, subjects and providers' answers come from outside, and a terminal obeys control characters: they are
made printable first.
"""

import getpass
import os
import re
import sys
import time
from pathlib import Path
from typing import Final

from smtprelay.cli.exit_codes import FAILED, PERMISSION, USAGE, CliError

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def printable(text: object) -> str:
    """Return ``text`` on one line, with every control character made visible."""
    return "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in str(text))


def id_in(text: str) -> str:
    """Return the id in a relay's whole reply (``250 … queued as ID``); any other ``text`` as it is."""
    found = re.search(r"queued as ([0-9A-Za-z.-]+)", text)
    return found[1].rstrip(".") if found else text


def span(seconds: float) -> str:
    """Return a duration in its largest unit: ``"41m"``."""
    whole = max(int(seconds), 0)
    size, unit = next((pair for pair in _UNITS if whole >= pair[0]), _UNITS[-1])
    return f"{whole // size}{unit}"


def ahead(seconds: float) -> str:
    """Return how far off something is: ``"+12m"``, or ``"now"``."""
    return f"+{span(seconds)}" if seconds >= 1 else "now"


def size(count: float) -> str:
    """Return a size in the largest unit that keeps it above one, by powers of 1000: ``"2.1M"``."""
    for unit in ("B", "K", "M", "G"):
        if count < 1000:  # noqa: PLR2004 -- that is what a K is
            return f"{count:.0f}{unit}" if unit == "B" or count >= 10 else f"{count:.1f}{unit}"  # noqa: PLR2004
        count /= 1000
    return f"{count:.1f}T"


def moment(seconds: float) -> str:
    """Return a time of the epoch as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def clock(seconds: float, day: float) -> str:
    """Return a time as ``13:21:40``, with its date if that is not the day of ``day``."""
    whole = moment(seconds)
    date, _, hour = whole.partition(" ")
    return hour if moment(day).startswith(date) else whole


def count(number: int, noun: str) -> str:
    """Return ``"1 delivery"``, ``"2 deliveries"``."""
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {plural}"


def with_settings(holds: int, suspended: int) -> str:
    """Return the operator's settings that go along with exported messages: ``", 2 hold rules"``."""
    parts = ((holds, "hold rule"), (suspended, "suspended provider"))
    return "".join(f", {count(number, noun)}" for number, noun in parts if number)


def who() -> str:
    """Return the name of the user who types, for the record; the number where there is no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a number that has no name.
        return f"uid {os.getuid()}"


def text_of(file: str, option: str) -> str:
    """
    Return the text of ``file``, which ``option`` names (``--body @FILE`` is the option ``--body``).

    Raises :class:`CliError`: 2 if it is not UTF-8, 77 if it may not be read, 1 if it cannot be read.
    """
    try:
        return content_of(file, option).decode()
    except UnicodeDecodeError as error:
        raise CliError(USAGE, f"{option} {file}: not UTF-8") from error


def content_of(file: str, option: str) -> bytes:
    """Return the content of ``file``; raises as :func:`text_of`."""
    try:
        return Path(file).read_bytes()
    except OSError as error:
        status = PERMISSION if isinstance(error, PermissionError) else FAILED
        raise CliError(status, f"{option} {file}: {error.strerror or error}") from error


def piped(*, line: bool = False) -> str:
    """
    Return the standard input; raises :class:`CliError` (2) if it is not UTF-8.

    :param line: only its first line; what follows is not waited for.
    """
    try:
        text = sys.stdin.readline() if line else sys.stdin.read()
        text.encode()
    except UnicodeError as error:
        raise CliError(USAGE, "the standard input is not UTF-8") from error
    return text
