"""
A configuration before it means anything: maps, lists and words that know where they stand.

What a word means is decided by the setting it is given to, never by its looks:
``off`` is a word where a mode is expected, ``0123`` keeps its zero in a name, and
``10:30`` is no number at all. So YAML's implicit types never come into play.
"""

import re
from collections.abc import Collection
from typing import Final

from attrs import frozen

#: Deeper nesting than any setting has, far from Python's recursion limit.
MAXIMUM_DEPTH: Final = 32

#: Characters that no setting needs and that a log, a path or SMTP must never meet.
CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


@frozen
class Mark:
    """A place: ``line`` and ``column`` from 1; both 0 for a variable or option named by ``file``."""

    file: str
    line: int = 0
    column: int = 0


@frozen(eq=False)
class Scalar:
    """
    One word.

    :ivar plain: written without quotes, so that it may be ``null``.
    :ivar where: ``listeners[0].endpoint``, for people.
    :ivar literal: it stands in the file as it is, and did not come from the environment.
    """

    text: str
    mark: Mark
    where: str = ""
    plain: bool = True
    literal: bool = True

    @property
    def null(self) -> bool:
        """Whether this says that there is nothing (YAML 1.2 core schema), so that the default holds."""
        return self.plain and self.text in {"", "~", "null", "Null", "NULL"}


class Table(dict[str, "Node"]):
    """
    A map.

    :ivar key_marks: where each key stands.
    :ivar cut: keys that were there and were wrong, see :func:`without`.
    """

    def __init__(self, mark: Mark, where: str = "") -> None:
        super().__init__()
        self.mark = mark
        self.where = where
        self.key_marks: dict[str, Mark] = {}
        self.cut: set[str] = set()

    def put(self, key: str, node: "Node", mark: Mark) -> None:
        """Set ``key``, which stands at ``mark``."""
        self[key] = node
        self.key_marks[key] = mark


class Items(list["Node"]):
    """A list."""

    def __init__(self, mark: Mark, where: str = "") -> None:
        super().__init__()
        self.mark = mark
        self.where = where


Node = Scalar | Table | Items

#: The way to a node from the root: keys and positions.
Path = tuple[str | int, ...]


def below(where: str, key: str | int) -> str:
    """Return the name, for people, of what ``key`` is within ``where``."""
    if isinstance(key, int):
        return f"{where}[{key}]"
    return f"{where}.{key}" if where else key


def spelled(path: Path) -> str:
    """Return ``path`` for people: ``listeners[0].endpoint``."""
    where = ""
    for key in path:
        where = below(where, key)
    return where


def unfit(text: str) -> str:
    """Return why no setting can have ``text``, in a clause, or ``""``."""
    found = CONTROL.search(text)
    if found is None:
        return ""
    code = ord(found[0])
    return "is not UTF-8" if code > 0x7F else f"has the control character \\x{code:02x}"  # noqa: PLR2004


def child(node: "Node | None", key: str | int) -> "Node | None":
    """Return what ``key`` is within ``node``, or ``None``."""
    if isinstance(node, Table) and isinstance(key, str):
        return node.get(key)
    if isinstance(node, Items) and isinstance(key, int) and 0 <= key < len(node):
        return node[key]
    return None


def nearest(root: Node, path: Path) -> Node:
    """Return the node at ``path``, or as much of the way to it as there is."""
    node = root
    for key in path:
        following = child(node, key)
        if following is None:
            break
        node = following
    return node


def without(node: Node, removed: Collection[int]) -> Node:
    """Return a copy of ``node`` without those below it whose :func:`id` is in ``removed``."""
    if isinstance(node, Table):
        table = Table(node.mark, node.where)
        table.cut |= node.cut
        for key, value in node.items():
            if id(value) in removed:
                table.cut.add(key)
            else:
                table.put(key, without(value, removed), node.key_marks[key])
        return table
    if isinstance(node, Items):
        items = Items(node.mark, node.where)
        items.extend(without(item, removed) for item in node if id(item) not in removed)
        return items
    return node
