"""
What is wrong with the YAML of a configuration, in the words of somebody who does not know YAML. Pure.

PyYAML says what its grammar expected. Operators want to know what to write instead.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

import yaml

from smtprelay.config.finding import NO_SETTINGS
from smtprelay.config.masking import masked


def _unquoted(line: str, column: int) -> str:
    words = re.finditer(r"[^\s\[\]{},]+", masked([line], 0))
    word = next((each[0] for each in words if each.start() <= column <= each.end()), "")
    quotable = word and not set(word) & set('"•')
    return f'quotes are missing: write "{word}"' if quotable else "a value that begins so needs quotes"


def _two_colons(line: str, column: int) -> str:
    if re.search(r":\s", line[:column]):
        return 'a value that has ": " in it needs quotes'
    return "wrongly indented, or the line before has no colon and blank behind its key"


#: Patterns of PyYAML's words and context, what is said instead, and whether it is about where that begins.
_TABLE: Final[Sequence[tuple[str, str | Callable[[str, int], str], bool]]] = (
    (r"'\\t'", "a tab cannot indent YAML: use spaces", False),
    (r"node content, but found ':' .*flow", _unquoted, False),
    (r"alphabetic or numeric character.*(?:alias|anchor)", _unquoted, False),
    (r"unexpected (?:end of stream|document sep).*quoted", "this quote is never closed", True),
    (r"expected ',' or '\]'", 'this list is not closed: "]" or a comma is missing', True),
    (r"expected ',' or '\}'", 'this map is not closed: "}}" or a comma is missing', True),
    (r"mapping values are not allowed", _two_colons, False),
    (r"<block end>, but found '<scalar>'", "nothing may follow a closing quote", False),
    (r"<block end>, but found ','", "no comma may follow here", False),
    (r"expected <block end>", "wrongly indented: on no level of the lines above", False),
    (r"'(.+)' that cannot start any token", "a value cannot begin with {} unless it is in quotes", False),
    (r"escape (?:character|sequence)", r"in double quotes \ begins an escape: use single quotes", False),
    (r"expected '<document start>'", NO_SETTINGS, False),
    (r"another document", 'a second document ("---"): a configuration is one', False),
    (r"sequence entries are not allowed", 'the first "- " of a list begins a line of its own', False),
    (r"node content, but found '(.+?)'", "{} stands where a value is expected", False),
    (r"could not find expected ':'", "a colon is missing behind this key", True),
    (r"(.+) \(", "this is no YAML: {}", False),
)


def plain_error(error: yaml.MarkedYAMLError, lines: Sequence[str]) -> tuple[str, int, int]:
    """Return one sentence about ``error``, and the line and column that it is about, from 1."""
    context, end = error.context or "", error.problem_mark or error.context_mark
    said = f"{error.problem or 'not understood'} ({context})"
    found = ((re.search(pattern, said), told, at_begin) for pattern, told, at_begin in _TABLE)
    match, told, at_begin = next(row for row in found if row[0])
    if "flow" in context and end is not None and "${" in "".join(lines[end.line : end.line + 1]):
        told, at_begin = 'inside of {{ }} and [ ] a reference needs quotes: "${{NAME}}"', False
    mark = error.context_mark if at_begin and error.context_mark else end
    row, column = (0, 0) if mark is None else (mark.line, mark.column)
    line = "".join(lines[row : row + 1])
    assert match is not None
    return told(line, column) if callable(told) else told.format(*match.groups()), row + 1, column + 1
