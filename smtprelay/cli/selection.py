"""
The options that select deliveries, the same for every command.

A time is a duration (``2h`` is two hours ago, or from now where something is to happen), or a date or time of
day in this machine's time zone.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import click

from smtprelay.cli.text import id_in
from smtprelay.model.filters import FILTERS, STATES
from smtprelay.model.units import NUMBER, parse_duration, parse_size

#: Seconds.
_DAY: Final = 86_400.0
_CENTURY: Final = 36_525 * _DAY


class DurationType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """A duration like ``90s``, ``2h`` or ``1d``; becomes seconds."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        try:
            return value if isinstance(value, float) else _duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Timeout(DurationType):
    """
    A duration, or a number of seconds; becomes seconds.

    :param waits: it is the timeout of a socket: neither 0 nor more than a day.
    """

    def __init__(self, *, waits: bool = False) -> None:
        self._waits = waits

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        plain = isinstance(value, str) and re.fullmatch(NUMBER, value.strip())
        seconds = super().convert(float(value) if plain else value, param, ctx)
        if self._waits and not 0 < seconds <= _DAY:
            self.fail(f'"{value}" is no time to wait: expected one such as 30s or 5m, 1d at most', param, ctx)
        return seconds


class NumberRange(click.IntRange):
    """A whole number within bounds."""

    name = "whole number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            bounds = f"from {self.min}" + ("" if self.max is None else f" to {self.max}")
            self.fail(f'"{value}" is not a whole number {bounds}', param, ctx)


class TimeType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """
    A time; becomes seconds since the epoch.

    :param sign: -1 if a duration is counted back from now, 1 if forward.
    """

    name = "when"

    def __init__(self, sign: int) -> None:
        self._sign = sign

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the time."""
        if isinstance(value, float):
            return value
        text = value.strip()
        with suppress(ValueError):
            return max(0.0, time.time() + self._sign * _duration(text))
        try:
            return _moment(text, self._sign)
        except ValueError:
            self.fail(f"{value!r} is not a time like 2h, 14:30 or 2026-11-24T14:30", param, ctx)


class SizeType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """A size like ``2MB`` or ``2MiB``, as in the configuration; becomes bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes."""
        try:
            return value if isinstance(value, int) else parse_size(value.strip())
        except ValueError as error:
            self.fail(str(error), param, ctx)


class MessageIdType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """The id of a message or delivery, or the whole reply that contains it."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id."""
        del param, ctx
        return id_in(str(value))


def _duration(text: str) -> float:
    """Return the seconds of a duration of at most a century."""
    seconds = parse_duration(text.strip().lower())
    if seconds > _CENTURY:
        raise ValueError(f'"{text}" is longer than a hundred years')
    return seconds


def _moment(text: str, sign: int) -> float:
    """Return a local time; a time of day alone is the last one before now, or the next one."""
    if ":" in text[:3]:
        now = datetime.now().astimezone()
        hour = datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007 -- the zone is that of now
        then = datetime.combine(now.date(), hour).astimezone().timestamp()
        passed = (then - now.timestamp()) * sign < 0
        return then + sign * 86400.0 * passed
    return datetime.fromisoformat(text).astimezone().timestamp()


_TYPES: Final = {"texts": click.Choice(STATES), "text": None, "time": TimeType(-1), "size": SizeType()}

#: The same as --until and --since, as an age.
_AGES: Final = (
    click.option("--older-than", "until", metavar="SPAN", type=TimeType(-1), help="The same as --until: 1d."),
    click.option("--newer-than", "since", metavar="SPAN", type=TimeType(-1), help="The same as --since: 1h."),
)


def filters(command: Callable[..., Any], provider: str = "--provider") -> Callable[..., Any]:
    """Add the options of all filters to a command; ``provider`` is the option for the provider."""
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
    """Return the filters that were given, and the ``ids``."""
    chosen = {each.name: given[each.name] for each in FILTERS if each.option and given.get(each.name)}
    return {"ids": list(ids), **chosen} if ids else chosen
