"""
An operator's filters as SQL.

Each is a clause over a delivery ``d``, its message ``m`` and its lane ``l``. None of them has an index of
its own, for that would cost every mail something: :mod:`smtprelay.spool.query.search` sees that a page of
rows is all that a clause is ever asked about.
"""

import json
import string
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from smtprelay.model.message import Client
from smtprelay.model.queue import NOBODY, Selection

#: A condition, and its parameters.
Clause = tuple[str, list[Any]]

_TO_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def clauses(selection: Selection) -> Iterator[Clause]:
    """Give a clause for each filter of ``selection``; ids, states and the rule are not among them."""
    for name, make in _TEXTS.items():
        value = getattr(selection, name)
        if value:
            yield make(value)
    for name, condition in _BOUNDS.items():
        value = getattr(selection, name)
        if value is not None and value != 0:
            yield condition, [value]


def _like(*columns: str) -> Callable[[str], Clause]:
    """Compare with a pattern in which ``*`` stands for anything."""

    def clause(pattern: str) -> Clause:
        return _either(columns, [_pattern(each) for each in _spellings(pattern)])

    return clause


def _containing(*columns: str) -> Callable[[str], Clause]:
    """So, but without a ``*`` a part is enough."""
    like = _like(*columns)
    return lambda text: like(text if "*" in text else f"*{text}*")


def _recipient(make: Callable[[str], Clause]) -> Callable[[str], Clause]:
    """Ask it of the recipients ``r``; one is enough."""

    def clause(text: str) -> Clause:
        condition, parameters = make(text)
        where = f"r.message = d.message AND r.n = d.n AND {condition}"
        return f"EXISTS (SELECT 1 FROM recipient r WHERE {where})", parameters  # noqa: S608 -- constants

    return clause


def _any_of(*makers: Callable[[str], Clause]) -> Callable[[str], Clause]:
    def clause(text: str) -> Clause:
        made = [make(text) for make in makers]
        return f"({' OR '.join(one for one, _ in made)})", [each for _, values in made for each in values]

    return clause


def _sender(text: str) -> Clause:
    """What nobody sent is shown as ``<>``, and looked for so."""
    return ("m.sender = ''", []) if text == NOBODY else _like("m.sender")(text)


def _message_id(text: str) -> Clause:
    """Angle brackets are easily lost when an id is copied."""
    bare = text.strip("<>")
    return _either(["m.message_id"], [_pattern(each.translate(_TO_LOWER)) for each in (bare, f"<{bare}>")])


def _client(name: str) -> Callable[[str], Clause]:
    """
    Compare one value of a client, who is stored as JSON in the order of :class:`Client`.

    What comes before and after a value cannot be within another one: there its quotes are escaped.
    """
    names = [each.name for each in attrs.fields(Client)]
    place = names.index(name)
    before = f'{{"{name}": "' if place == 0 else f', "{name}": "'
    after = f'", "{names[place + 1]}": ' if place + 1 < len(names) else '"}'

    def clause(pattern: str) -> Clause:
        start = "" if place == 0 else "%"
        spelled = [
            f"{start}{_escaped(before)}{_pattern(json.dumps(each)[1:-1])}{_escaped(after)}%"
            for each in _spellings(pattern)
        ]
        return _either(["m.client"], spelled)

    return clause


def _either(columns: Any, patterns: list[str]) -> Clause:
    conditions = [f"lower({column}) LIKE ? ESCAPE '!'" for column in columns for _ in patterns]
    return f"({' OR '.join(conditions)})", [*patterns] * len(columns)


def _spellings(pattern: str) -> list[str]:
    """Return ``pattern`` in lower case as databases see that: some leave alone what is not ASCII."""
    return list({pattern.translate(_TO_LOWER): None, pattern.lower(): None})


def _pattern(text: str) -> str:
    return _escaped(text).replace("*", "%")


def _escaped(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


_TEXTS: Final[dict[str, Callable[[str], Clause]]] = {
    "text": _any_of(
        _containing("m.sender", "m.subject", "m.message_id"), _recipient(_containing("r.address"))
    ),
    "route": _like("d.route"),
    "provider": _like("l.provider"),
    "lane": _like("l.key"),
    "sender": _sender,
    "recipient": _recipient(_like("r.address")),
    "subject": _containing("m.subject"),
    "message_id": _message_id,
    "provider_id": _recipient(_like("r.provider_id")),
    "error": _any_of(_containing("d.reason"), _recipient(_containing("r.reason"))),
    "client": _client("address"),
    "user": _client("user"),
}

_BOUNDS: Final = {"min_size": "m.size >= ?", "since": "m.received >= ?", "until": "m.received < ?"}
