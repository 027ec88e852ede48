"""
Says ages, sizes and times as people read them, and makes strangers' text safe to print.

Senders, subjects and providers' answers come from outside, and a
terminal obeys what it is told.
"""

import re
import time
from typing import Final

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def printable(text: object) -> str:
    """Return ``text`` on one line, with every control character made visible."""
    return "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in str(text))


def id_in(text: str) -> str:
    """Return the id in the whole reply of a relay (``250 … queued as ID``); any other ``text`` as it is."""
    found = re.search(r"queued as ([0-9A-Za-z.-]+)", text)
    return found[1].rstrip(".") if found else text


def span(seconds: float) -> str:
    """Return a duration in its largest unit: ``"41m"``."""
    whole = max(int(seconds), 0)
    size, unit = next((pair for pair in _UNITS if whole >= pair[0]), _UNITS[-1])
    return f"{whole // size}{unit}"


def ahead(seconds: float) -> str:
    """Return when something comes, counted from now: ``"+12m"``, or ``"now"``."""
    return f"+{span(seconds)}" if seconds >= 1 else "now"


def size(count: float) -> str:
    """Return a size in the largest binary unit that keeps it above one: ``"2.1M"``."""
    for unit in ("B", "K", "M", "G"):
        if count < 1024:  # noqa: PLR2004 -- that is what a K is
            return f"{count:.0f}{unit}" if unit == "B" or count >= 10 else f"{count:.1f}{unit}"  # noqa: PLR2004
        count /= 1024
    return f"{count:.1f}T"


def moment(seconds: float) -> str:
    """Return a time of the epoch as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def clock(seconds: float, day: float) -> str:
    """Return a time as ``13:21:40``, with its date if that is not the day of ``day``."""
    whole = moment(seconds)
    date, _, hour = whole.partition(" ")
    return hour if moment(day).startswith(date) else whole


def ordered(holds: int, suspended: int) -> str:
    """Return what goes along with messages of an operator's orders: ``", 2 hold rules"``."""
    parts = ((holds, "hold rule"), (suspended, "suspended provider"))
    return "".join(f", {count(number, noun)}" for number, noun in parts if number)


def count(number: int, noun: str) -> str:
    """Return ``"1 delivery"``, ``"2 deliveries"``."""
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {plural}"
