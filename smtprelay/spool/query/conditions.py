"""
An operator's filters as SQL: clauses over a delivery ``d``, its message ``m`` and its lane ``l``.

None has an index of its own, which would cost every mail something: they are asked of one page at a time.
"""

import json
import string
from collections.abc import Iterator
from typing import Any, Final

import attrs

from smtprelay.model.filters import FILTERS, Filter
from smtprelay.model.message import Client
from smtprelay.model.queue import NOBODY, Selection

#: A condition, and its parameters.
Clause = tuple[str, list[Any]]

_TO_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def clauses(selection: Selection) -> Iterator[Clause]:
    """Give a clause for each filter of ``selection``; ids, states and the rule are not among them."""
    for wanted in FILTERS:
        value = getattr(selection, wanted.name)
        if value and wanted.columns:
            yield _text_clause(wanted, value) if wanted.kind == "text" else (wanted.columns[0], [value])


def _text_clause(wanted: Filter, text: str) -> Clause:
    if wanted.name == "sender" and text == NOBODY:
        # What nobody sent is shown as ``<>``, and looked for so.
        return "m.sender = ''", []
    made = [_column(column, _texts(wanted, text)) for column in wanted.columns]
    return f"({' OR '.join(one for one, _ in made)})", [each for _, values in made for each in values]


def _texts(wanted: Filter, text: str) -> list[str]:
    """Return the patterns of which one must match."""
    if wanted.name == "message_id":
        # Angle brackets are easily lost when an id is copied.
        bare = text.strip("<>").translate(_TO_LOWER)
        return [bare, f"<{bare}>"]
    return _spellings(f"*{text}*" if wanted.part and "*" not in text else text)


def _column(column: str, texts: list[str]) -> Clause:
    table, _, name = column.partition(".")
    if table == "c":
        return _like("m.client", [_client(name, each) for each in texts])
    condition, patterns = _like(column, [_pattern(each) for each in texts])
    if table == "r":
        where = f"r.message = d.message AND r.n = d.n AND ({condition})"
        return f"EXISTS (SELECT 1 FROM recipient r WHERE {where})", patterns  # noqa: S608 -- constants
    return condition, patterns


def _client(name: str, text: str) -> str:
    """
    Return the pattern of one value of a client, who is stored as JSON in the order of :class:`Client`.

    What comes before and after a value cannot be within another one: there its quotes are escaped.
    """
    names = [each.name for each in attrs.fields(Client)]
    place = names.index(name)
    before = f'{{"{name}": "' if place == 0 else f', "{name}": "'
    after = f'", "{names[place + 1]}": ' if place + 1 < len(names) else '"}'
    start = "" if place == 0 else "%"
    return f"{start}{_escaped(before)}{_pattern(json.dumps(text)[1:-1])}{_escaped(after)}%"


def _like(column: str, patterns: list[str]) -> Clause:
    return " OR ".join([f"lower({column}) LIKE ? ESCAPE '!'"] * len(patterns)), patterns


def _spellings(pattern: str) -> list[str]:
    """Return ``pattern`` in lower case as databases see that: some leave alone what is not ASCII."""
    return list({pattern.translate(_TO_LOWER): None, pattern.lower(): None})


def _pattern(text: str) -> str:
    return _escaped(text).replace("*", "%")


def _escaped(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
