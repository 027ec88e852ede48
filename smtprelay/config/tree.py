"""
A configuration as maps, lists and words that know their place in the file.

The setting decides what a word means, not YAML's implicit types: ``off`` is a word where a mode is expected,
and
``0123`` keeps its zero in a name.
"""

from collections.abc import Collection
from typing import Final

from attrs import frozen

from smtprelay.settings.complaint import Path

#: Deeper than any setting, and far from Python's recursion limit.
MAXIMUM_DEPTH: Final = 32


@frozen
class Mark:
    """A place: ``line`` and ``column`` from 1; both are 0 if ``file`` is a variable or option."""

    file: str
    line: int = 0
    column: int = 0


@frozen(eq=False)
class Scalar:
    """
    One word.

    :ivar plain: written without quotes, so that it can be ``null``.
    :ivar where: its name for people: ``listeners[0].endpoint``.
    :ivar literal: written in the file, not taken from the environment.
    """

    text: str
    mark: Mark
    where: str = ""
    plain: bool = True
    literal: bool = True

    @property
    def null(self) -> bool:
        """Whether it is null (YAML 1.2 core schema), so that the default applies."""
        return self.plain and self.text in {"", "~", "null", "Null", "NULL"}


class Table(dict[str, "TreeNode"]):
    """
    A map.

    :ivar key_marks: the place of each key.
    :ivar cut: keys that were removed by :func:`without`.
    """

    def __init__(self, mark: Mark, where: str = "") -> None:
        super().__init__()
        self.mark = mark
        self.where = where
        self.key_marks: dict[str, Mark] = {}
        self.cut: set[str] = set()

    def put(self, key: str, node: "TreeNode", mark: Mark) -> None:
        """Set ``key``, whose place is ``mark``."""
        self[key] = node
        self.key_marks[key] = mark


class Items(list["TreeNode"]):
    """A list."""

    def __init__(self, mark: Mark, where: str = "") -> None:
        super().__init__()
        self.mark = mark
        self.where = where


TreeNode = Scalar | Table | Items


def child(node: "TreeNode | None", key: str | int) -> "TreeNode | None":
    """Return the node at ``key`` within ``node``, or ``None``."""
    if isinstance(node, Table) and isinstance(key, str):
        return node.get(key)
    if isinstance(node, Items) and isinstance(key, int) and 0 <= key < len(node):
        return node[key]
    return None


def type_text(node: "TreeNode | None") -> str:
    """Return the word of the key "type" of an entry, or ``""``."""
    word = child(node, "type")
    return word.text if isinstance(word, Scalar) else ""


def nearest(root: TreeNode, path: Path) -> TreeNode:
    """Return the node at ``path``, or the last one that exists on the way to it."""
    node = root
    for key in path:
        following = child(node, key)
        if following is None:
            break
        node = following
    return node


def without(node: TreeNode, removed: Collection[int]) -> TreeNode:
    """Return a copy of ``node`` without the nodes below it whose :func:`id` is in ``removed``."""
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
