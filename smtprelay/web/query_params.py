"""
Reads the query or the body of a request as a selection and a change.

An unknown parameter is refused by name: a filter that is silently ignored would delete the wrong mail.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from attrs import evolve

from smtprelay.model.filters import FILTERS, Filter
from smtprelay.model.queue import STATES, Edit, Selection
from smtprelay.web.messages import ApiProblem, ApiRequest

#: The most deliveries in one answer.
MOST_LISTED: Final = 10_000

_LONGEST_NOTE: Final = 500
#: The largest number that JSON and JavaScript keep exactly.
_LARGEST: Final = 2**53 - 1

#: As the only state: all states.
_ANY: Final = ["any"]


class ValueKind(NamedTuple):
    """What a value must be: a test, and its name."""

    fits: Callable[[object], bool]
    name: str


def _is_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LARGEST


TEXT: Final = ValueKind(lambda value: isinstance(value, str), "a string")
#: Who changes something, and why; both are stored with each delivery.
NOTE: Final = ValueKind(
    lambda value: isinstance(value, str) and len(value) <= _LONGEST_NOTE,
    f"a string of at most {_LONGEST_NOTE} characters",
)
FLAG: Final = ValueKind(lambda value: isinstance(value, bool), "true or false")
NUMBER: Final = ValueKind(_is_number, f"a number from 0 to {_LARGEST}")
STRINGS: Final = ValueKind(_is_list, "a list of strings")
OBJECT: Final = ValueKind(lambda value: isinstance(value, dict), "an object")

_KINDS: Final = {"texts": STRINGS, "text": TEXT, "time": NUMBER, "size": NUMBER}
_FILTERS: Final[Mapping[str, ValueKind]] = {each.name: _KINDS[each.kind] for each in FILTERS}

#: The options of an action; ``to`` is the provider of a reroute.
_OPTIONS: Final[Mapping[str, Mapping[str, ValueKind]]] = {
    "retry": {"at": NUMBER},
    "delete": {"bounce": FLAG},
    "reroute": {"to": TEXT, "force": FLAG},
}

_EDIT: Final[Mapping[str, ValueKind]] = {
    **_FILTERS,
    "why": NOTE,
    "mark": TEXT,
    **dict.fromkeys(("everything", "dry_run"), FLAG),
}


def listed(query: Mapping[str, list[str]]) -> tuple[Selection, str]:
    """Return the selection of a query, and the mark to begin at. Raises :class:`ApiProblem`."""
    known = {*(each.parameter for each in FILTERS), "limit", "order", "after"}
    unknown = sorted(set(query) - known)
    if unknown:
        text = f"unknown parameter {', '.join(unknown)}: known are {', '.join(sorted(known))}"
        raise ApiProblem(400, text)
    given = {each.name: value for each in FILTERS if (value := _value(query, each))}
    if given.get("states") == _ANY:
        given["states"] = STATES
    order = _one(query, "order") or "default"
    if order not in ("default", "newest"):
        raise ApiProblem(400, f"unknown order {order!r}: it is newest, or left out")
    limit = _limit(_one(query, "limit") or "1000")
    return _selection(given, newest=order == "newest", limit=limit), _one(query, "after")


def filtered(given: Mapping[str, Any]) -> Selection:
    """Return the selection of an object of filters. Raises :class:`ApiProblem`."""
    return _selection(checked(given, _FILTERS))


def changed(request: ApiRequest, action: str) -> tuple[Selection, Edit, str]:
    """Return the selection, the change, and the mark of the last step. Raises :class:`ApiProblem`."""
    options = _OPTIONS.get(action, {})
    wanted, who = signed(request, {**_EDIT, **options})
    filters = {name: wanted[name] for name in _FILTERS if wanted.get(name)}
    if not filters and not wanted.get("everything"):
        raise ApiProblem(400, "give ids or a filter, or everything: true")
    selection = _selection(filters, everything=bool(wanted.get("everything")))
    edit = Edit(action=action, who=who, why=wanted.get("why", ""), dry_run=wanted.get("dry_run", False))
    given = {name: wanted[name] for name in options if name in wanted}
    if action == "reroute":
        if not given.get("to"):
            raise ApiProblem(400, "to must be the provider to send the mail through")
        given["provider"] = given.pop("to")
    return selection, evolve(edit, **given), wanted.get("mark", "")


def signed(request: ApiRequest, kinds: Mapping[str, ValueKind]) -> tuple[Mapping[str, Any], str]:
    """Return the body of a change, as :func:`checked` does, and who makes the change."""
    wanted = checked(request.json(), {**kinds, "who": NOTE})
    return wanted, request.signed(wanted.get("who", ""))


def checked(wanted: Mapping[str, Any], kinds: Mapping[str, ValueKind]) -> Mapping[str, Any]:
    """Return ``wanted``; raises :class:`ApiProblem` for unknown keys and values of the wrong kind."""
    for name, value in wanted.items():
        if name not in kinds:
            raise ApiProblem(400, f"unknown key {name!r}: known are {', '.join(sorted(kinds))}")
        if not kinds[name].fits(value):
            raise ApiProblem(400, f"{name} must be {kinds[name].name}")
    return wanted


def number(text: str, name: str) -> float:
    """Return the number in ``text``, the value of the parameter ``name``. Raises :class:`ApiProblem`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not NUMBER.fits(value):
        raise ApiProblem(400, f"{name} must be {NUMBER.name}")
    return value


def _value(query: Mapping[str, list[str]], wanted: Filter) -> Any:
    """Return the value of a filter in a query; a false value if it is not given."""
    if wanted.kind == "texts":
        return query.get(wanted.parameter)
    text = _one(query, wanted.parameter)
    if wanted.kind == "text" or not text:
        return text
    value = number(text, wanted.parameter)
    return int(value) if wanted.kind == "size" else value


def _one(query: Mapping[str, list[str]], name: str) -> str:
    values: Sequence[str] = query.get(name, [""])
    if len(values) > 1:
        raise ApiProblem(400, f"{name} may be given once")
    return values[0]


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MOST_LISTED:
        raise ApiProblem(400, f"limit must be a number from 1 to {MOST_LISTED}")
    return int(text)


def _selection(given: Mapping[str, Any], **more: Any) -> Selection:
    selection = Selection(**given, **more)
    for state in selection.states:
        if state not in STATES:
            raise ApiProblem(400, f"unknown state {state!r}: it is one of {', '.join(STATES)}")
    return selection
