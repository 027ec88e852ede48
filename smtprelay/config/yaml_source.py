"""
From the text of a file to a :mod:`tree <smtprelay.config.tree>`: YAML, but only its safe core.

PyYAML finds the structure and the places; the rest of YAML is kept out because
each part of it has surprised operators: a second key of the same name silently
wins, an alias can make a small file huge, a tag can ask for a Python object.
"""

import re
from collections.abc import Mapping
from typing import Final

import yaml
from attrs import field, fields, frozen

from smtprelay.config.finding import NO_SETTINGS
from smtprelay.config.interpolate import interpolate
from smtprelay.config.model import Config
from smtprelay.config.problem import Problem, make_problem
from smtprelay.config.tree import CONTROL, MAXIMUM_DEPTH, Items, Mark, Node, Scalar, Table, below, unfit
from smtprelay.config.yaml_errors import plain_error

#: Larger is no configuration that a person wrote.
MAXIMUM_BYTES: Final = 1 << 20


@frozen
class YamlFile:
    """
    A file that was read.

    :ivar root: an empty map where the file is empty or could not be understood.
    :ivar lines: for snippets.
    :ivar broken: the structure itself could not be read: nothing can be said about settings.
    """

    root: Table
    lines: list[str]
    problems: list[Problem] = field(factory=list)
    broken: bool = False


#: A line of a configuration, indented or as JSON; any other file may be somebody's secret.
_OURS: Final = re.compile(
    rf"""^[ \t{{]*["']?(?:{"|".join(each.name for each in fields(Config))})["']?\s*:(?:\s|$|["'\[{{])""",
    re.MULTILINE,
)


class _Unreadable(Exception):  # noqa: N818 -- carries what is told to the operator
    """The structure cannot be read, or uses a part of YAML that a configuration does not need."""

    def __init__(self, text: str, line: int = 1, column: int = 1) -> None:
        super().__init__(text)
        self.line = line
        self.column = column


class _Loader(yaml.SafeLoader):
    """Composes nodes; refuses aliases, tags and deep nesting where they stand."""

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
    """Return what ``content`` says; ``name`` is what problems call the file. Never raises."""
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
    """Makes the tree of one file and keeps what is wrong in it."""

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

    def _node(self, node: yaml.Node, where: str) -> Node:
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
