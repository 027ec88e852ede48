"""
What is wrong with the YAML of a configuration, in the words of somebody who does not know YAML. Pure.

PyYAML says what its grammar expected. Operators want to know what to write instead.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

import yaml

from smtprelay.config.masking import masked

#: Words between blanks and the brackets and commas of lists and maps.
_WORD: Final = re.compile(r"[^\s\[\]{},]+")

_QUOTES: Final = "a value that begins so needs quotes"

_REFERENCE: Final = 'inside of { } and [ ] a reference needs quotes: "${NAME}"'


def plain_error(error: yaml.MarkedYAMLError, lines: Sequence[str]) -> tuple[str, int, int]:
    """Return one sentence about ``error``, and the line and column that it is about, from 1."""
    words, context = error.problem or "not understood", error.context or ""
    end = error.problem_mark or error.context_mark
    begin = error.context_mark or end
    known = (row for row in _TABLE if row[0].search(f"{words} ({context})"))
    _, told, at_begin = next(known, (None, _unknown, False))
    if end is not None and "flow" in context and "${" in _line(lines, end):
        told, at_begin = _says(_REFERENCE), False
    mark = begin if at_begin else end
    if mark is None:
        return told("", 0, words), 1, 1
    return told(_line(lines, mark), mark.column, words), mark.line + 1, mark.column + 1


def _line(lines: Sequence[str], mark: yaml.Mark) -> str:
    return lines[mark.line] if mark.line < len(lines) else ""


_Told = Callable[[str, int, str], str]


def _says(sentence: str) -> _Told:
    return lambda _line, _column, _problem: sentence


def _unknown(_line: str, _column: int, problem: str) -> str:
    return f"this is no YAML: {problem}"


def _unquoted(line: str, column: int, _problem: str) -> str:
    words = _WORD.finditer(masked([line], 0))
    word = next((each[0] for each in words if each.start() <= column <= each.end()), "")
    return f'quotes are missing: write "{word}"' if word and not set(word) & set('"•') else _QUOTES


def _two_colons(line: str, column: int, _problem: str) -> str:
    if re.search(r":\s", line[:column]):
        return 'a value that has ": " in it needs quotes'
    return "wrongly indented, or the line before has no colon behind its key"


def _first_character(_line: str, _column: int, problem: str) -> str:
    found = re.search("'(.+?)'", problem)
    return f"a value cannot begin with {found[1] if found else 'this'} unless it is in quotes"


def _stray(_line: str, _column: int, problem: str) -> str:
    found = re.search("found '(.+?)'$", problem)
    return f"{found[1] if found else 'this'} stands where a value is expected"


#: Patterns of PyYAML's words, what is said instead, and whether it is about where the context begins.
_TABLE: Final[Sequence[tuple[re.Pattern[str], _Told, bool]]] = tuple(
    (re.compile(pattern), told if callable(told) else _says(told), at_begin)
    for pattern, told, at_begin in (
        (r"'\\t'", "a tab cannot indent YAML: use spaces", False),
        (r"node content, but found ':' .*flow", _unquoted, False),
        (r"alphabetic or numeric character.*(alias|anchor)", _unquoted, False),
        (r"unexpected (end of stream|document sep).*quoted", "this quote is never closed", True),
        (r"expected ',' or '\]'", 'this list is not closed: "]" or a comma is missing', True),
        (r"expected ',' or '\}'", 'this map is not closed: "}" or a comma is missing', True),
        (r"mapping values are not allowed", _two_colons, False),
        (r"<block end>, but found '<scalar>'", "nothing may follow a closing quote", False),
        (r"expected <block end>", "wrongly indented: on no level of the lines above", False),
        (r"cannot start any token", _first_character, False),
        (r"escape (character|sequence)", r"in double quotes \ begins an escape: use single quotes", False),
        (r"another document", 'a second document ("---"): a configuration is one', False),
        (r"sequence entries are not allowed", 'the first "- " of a list begins a line of its own', False),
        (r"node content", _stray, False),
        (r"could not find expected ':'", "a colon is missing behind this key", True),
        (r"chomping or indentation", "behind | and > the text begins on the next line", False),
        (r"directive", "a line cannot begin with %", False),
    )
)
