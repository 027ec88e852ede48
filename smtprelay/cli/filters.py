"""
The options that say which deliveries are meant, the same for every command.

Times are written as people think of them: ``2h`` is so long ago (or so long from now, where something is to
happen), and a date or an hour is one of this machine's time zone.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import click

from smtprelay.cli.text import id_in
from smtprelay.model.filters import FILTERS, STATES

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SPAN: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw])", re.ASCII)
_SIZE: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)([kmg]?)(?:i?b)?", re.ASCII | re.IGNORECASE)


class Span(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """A duration like ``90s``, ``2h`` or ``1d``; becomes seconds."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        if isinstance(value, float):
            return value
        seconds = span_of(str(value))
        if seconds is None:
            self.fail(f"{value!r} is not a duration like 90s, 15m, 2h or 1d", param, ctx)
        return seconds


class When(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """
    A time; becomes seconds since the epoch.

    :param sign: of a duration: -1 is so long ago, 1 is so long from now.
    """

    name = "when"

    def __init__(self, sign: int) -> None:
        self._sign = sign

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the time."""
        if isinstance(value, float):
            return value
        seconds = span_of(str(value))
        if seconds is not None:
            return max(0.0, time.time() + self._sign * seconds)
        try:
            return _moment(str(value).strip(), self._sign)
        except ValueError:
            self.fail(f"{value!r} is not a time like 2h, 14:30 or 2026-11-24T14:30", param, ctx)


class Size(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """A size like ``2M``; becomes bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes."""
        found = _SIZE.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is not a size like 500k or 2M", param, ctx)
        return int(float(found[1]) * 1024 ** " kmg".index(found[2].lower() or " "))


class MessageId(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """The id of a message or delivery, or the whole reply that has it."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id."""
        del param, ctx
        return id_in(str(value))


def span_of(text: str) -> float | None:
    """Return a duration in seconds, or ``None`` if ``text`` is none."""
    found = _SPAN.fullmatch(text.strip().lower())
    return None if found is None else float(found[1]) * _UNITS[found[2]]


def _moment(text: str, sign: int) -> float:
    """Return a local time; an hour alone is the last one, or the next."""
    if ":" in text[:3]:
        now = datetime.now().astimezone()
        hour = datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007 -- the zone is that of now
        then = datetime.combine(now.date(), hour).astimezone().timestamp()
        passed = (then - now.timestamp()) * sign < 0
        return then + sign * 86400.0 * passed
    return datetime.fromisoformat(text).astimezone().timestamp()


_TYPES: Final = {"texts": click.Choice(STATES), "text": None, "time": When(-1), "size": Size()}

#: The same as two of the table, for those who think of an age.
_AGES: Final = (
    click.option("--older-than", "until", metavar="SPAN", type=When(-1), help="The same as --until: 1d."),
    click.option("--newer-than", "since", metavar="SPAN", type=When(-1), help="The same as --since: 1h."),
)


def filters(command: Callable[..., Any], provider: str = "--provider") -> Callable[..., Any]:
    """Add the options of all filters to a command; ``provider`` is how that one is called."""
    options = [
        click.option(
            provider if each.name == "provider" else each.option,
            each.name,
            metavar=each.metavar,
            multiple=each.kind == "texts",
            type=_TYPES[each.kind],
            help=each.help,
        )
        for each in FILTERS
        if each.option
    ]
    for option in reversed((*options, *_AGES)):
        command = option(command)
    return command


def selected(given: Mapping[str, Any], ids: Sequence[str] = ()) -> dict[str, Any]:
    """Return what is given of the fields of a selection."""
    chosen = {each.name: given[each.name] for each in FILTERS if each.option and given.get(each.name)}
    return {"ids": list(ids), **chosen} if ids else chosen
