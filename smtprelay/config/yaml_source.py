"""
From the text of a file to a :mod:`tree <smtprelay.config.tree>`: the safe core of YAML.

PyYAML finds the structure and the places. The rest of YAML is refused because each part of it has surprised
operators: a repeated key silently wins, an alias can make a small file huge, a tag can ask for a Python
object. PyYAML's errors are put into words for operators who do not know YAML.

``${NAME}`` and its forms are replaced within words that the parser has already separated, so the value of a
variable can never become a key, a list or a comment.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import yaml
from attrs import field, fields, frozen

from smtprelay.config.environment import interpolate
from smtprelay.config.model import Config
from smtprelay.config.problem import Problem, make_problem
from smtprelay.config.quoted_lines import masked
from smtprelay.config.tree import MAXIMUM_DEPTH, Items, Mark, Scalar, Table, TreeNode
from smtprelay.config.unknown_keys import NO_SETTINGS
from smtprelay.settings.complaint import below
from smtprelay.settings.values import CONTROL, unfit

#: The largest file that is read.
MAXIMUM_BYTES: Final = 1 << 20


@frozen
class YamlFile:
    """
    A file that was read.

    :ivar root: an empty map if the file is empty or broken.
    :ivar lines: for snippets.
    :ivar broken: the file is not valid YAML, or uses what is refused here.
    """

    root: Table
    lines: list[str]
    problems: list[Problem] = field(factory=list)
    broken: bool = False


#: A line of a configuration, indented or as JSON; any other file may be a secret.
_OURS: Final = re.compile(
    rf"""^[ \t{{]*["']?(?:{"|".join(each.name for each in fields(Config))})["']?\s*:(?:\s|$|["'\[{{])""",
    re.MULTILINE,
)


class _Unreadable(Exception):  # noqa: N818 -- carries what the operator reads
    """The file is not valid YAML, or uses what is refused here."""

    def __init__(self, text: str, line: int = 1, column: int = 1) -> None:
        super().__init__(text)
        self.line = line
        self.column = column


class _Loader(yaml.SafeLoader):
    """Composes nodes; refuses aliases, tags and deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise _refused(event, f"aliases (*{event.anchor}) are not used here: write the value out")
        if getattr(event, "tag", None):
            raise _refused(event, "tags (!…) are not used here")
        if self.depth >= MAXIMUM_DEPTH:
            raise _refused(event, f"nested deeper than {MAXIMUM_DEPTH} levels")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def parse(content: bytes, name: str, environ: Mapping[str, str]) -> YamlFile:
    """Parse ``content``; problems call the file ``name``. Never raises."""
    lines: list[str] = []
    try:
        text = _decode(content)
        lines = text.splitlines() if _OURS.search(text) else []
        return _YamlReader(name, environ, lines).read(_compose(text))
    except _Unreadable as error:
        mark = Mark(name, error.line, error.column)
        return YamlFile(
            Table(mark), lines, [make_problem(mark, str(error), "CFG-SYNTAX", lines)], broken=True
        )


def _decode(content: bytes) -> str:
    if len(content) > MAXIMUM_BYTES:
        raise _Unreadable(f"larger than {MAXIMUM_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace")
        text = f"not UTF-8: {error.reason} (byte 0x{content[error.start]:02x})"
        raise _Unreadable(text, *_place(before)) from None


def _compose(text: str) -> yaml.Node | None:
    try:
        composed: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        character = f"unprintable character #x{error.character:04x}"
        raise _Unreadable(character, *_place(text[: error.position])) from None
    except yaml.MarkedYAMLError as error:
        raise _Unreadable(*plain_error(error, text.splitlines())) from None
    except (ValueError, OverflowError):
        # PyYAML lets chr() fail on an escape such as "\UFFFFFFFF".
        raise _Unreadable("an escape sequence names no character") from None
    return composed


def _place(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _refused(event: yaml.Event, text: str) -> _Unreadable:
    mark = event.start_mark
    return _Unreadable(text, mark.line + 1, mark.column + 1) if mark else _Unreadable(text)


class _YamlReader:
    """Makes the tree of one file and collects its problems."""

    def __init__(self, name: str, environ: Mapping[str, str], lines: list[str]) -> None:
        self.name = name
        self.environ = environ
        self.lines = lines
        self.problems: list[Problem] = []

    def read(self, composed: yaml.Node | None) -> YamlFile:
        if composed is None:
            return YamlFile(Table(Mark(self.name, 1, 1)), self.lines)
        root = self._node(composed, "")
        if isinstance(root, Scalar) and root.null:
            root = Table(root.mark)
        if not isinstance(root, Table):
            raise _Unreadable(NO_SETTINGS, root.mark.line, root.mark.column)
        return YamlFile(root, self.lines, self.problems)

    def _complain(self, mark: Mark, text: str, code: str) -> None:
        self.problems.append(make_problem(mark, text, code, self.lines))

    def _mark(self, node: yaml.Node) -> Mark:
        return Mark(self.name, node.start_mark.line + 1, node.start_mark.column + 1)

    def _node(self, node: yaml.Node, where: str) -> TreeNode:
        if isinstance(node, yaml.MappingNode):
            return self._table(node, where)
        if isinstance(node, yaml.SequenceNode):
            items = Items(self._mark(node), where)
            items.extend(self._node(item, below(where, n)) for n, item in enumerate(node.value))
            return items
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, where)

    def _table(self, node: yaml.MappingNode, where: str) -> Table:
        table = Table(self._mark(node), where)
        for key_node, value_node in node.value:
            mark = self._mark(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self._complain(mark, "a key must be one word", "CFG-SYNTAX")
                continue
            key = key_node.value.replace("\xa0", "")
            if key != key_node.value:
                self._complain(
                    mark, "a blank here is a non-breaking space: write ordinary ones", "CFG-SYNTAX"
                )
            if key in table.key_marks:
                first = table.key_marks[key].line
                self._complain(mark, f'"{key}" is given twice, first in line {first}', "CFG-DUPLICATE-KEY")
                continue
            table.put(key, self._node(value_node, below(where, key)), mark)
        return table

    def _scalar(self, node: yaml.ScalarNode, where: str) -> Scalar:
        mark = self._mark(node)
        text: str = node.value
        try:
            text = interpolate(node.value, self.environ)
        except ValueError as error:
            self._complain(mark, f"{where}: {error}", "CFG-VARIABLE")
        if flaw := unfit(text):
            hint = ": use single quotes, in which \\ is no escape" if node.style == '"' else ""
            self._complain(mark, f"{where}: the value {flaw}{hint}", "CFG-VALUE")
            text = CONTROL.sub("", text)
        return Scalar(text, mark, where, plain=node.style is None, literal=text == node.value)


def _unquoted(line: str, column: int) -> str:
    words = re.finditer(r"[^\s\[\]{},]+", masked([line], 0))
    word = next((each[0] for each in words if each.start() <= column <= each.end()), "")
    quotable = word and not set(word) & set('"•')
    return f'quotes are missing: write "{word}"' if quotable else "a value that begins so needs quotes"


def _two_colons(line: str, column: int) -> str:
    if re.search(r":\s", line[:column]):
        return 'a value that has ": " in it needs quotes'
    return "wrongly indented, or the line before has no colon and blank behind its key"


#: Patterns for PyYAML's message, the text that replaces it, and whether its place is the context's beginning.
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
    (r"node content, but found '(.+?)'", "{} is where a value is expected", False),
    (r"could not find expected ':'", "a colon is missing behind this key", True),
    (r"(.+) \(", "this is no YAML: {}", False),
)


def plain_error(error: yaml.MarkedYAMLError, lines: Sequence[str]) -> tuple[str, int, int]:
    """Return a sentence about ``error``, and the line and column that it is about, from 1."""
    context, end = error.context or "", error.problem_mark or error.context_mark
    problem = f"{error.problem or 'not understood'} ({context})"
    found = ((re.search(pattern, problem), sentence, at_begin) for pattern, sentence, at_begin in _TABLE)
    match, sentence, at_begin = next(row for row in found if row[0])
    if "flow" in context and end is not None and "${" in "".join(lines[end.line : end.line + 1]):
        sentence, at_begin = 'inside of {{ }} and [ ] a reference needs quotes: "${{NAME}}"', False
    mark = error.context_mark if at_begin and error.context_mark else end
    row, column = (0, 0) if mark is None else (mark.line, mark.column)
    line = "".join(lines[row : row + 1])
    assert match is not None
    return (
        sentence(line, column) if callable(sentence) else sentence.format(*match.groups()),
        row + 1,
        column + 1,
    )
