"""
What a check of a whole configuration looks at, and what it says.

A check must not report what only follows from another mistake: so it can ask which
names the file mentions at all, and whether an element is free of mistakes.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from attrs import Attribute, fields, frozen, has

from smtprelay.config.model import Config
from smtprelay.config.tree import Mark, Path, Table, nearest


@frozen
class Complaint:
    """A mistake, or a warning, at a path of the configuration."""

    path: Path
    text: str
    code: str
    severity: str = "error"


@frozen
class View:
    """
    A configuration with its tree.

    :ivar config: of everything that is right in the file, completed.
    :ivar root: the tree that ``config`` was made of.
    :ivar written: the tree as it was written, mistakes included.
    :ivar spoiled: the names, for people, of the nodes that were wrong.
    """

    config: Config
    root: Table
    written: Table
    spoiled: Collection[str]

    def names(self, section: str) -> Collection[str] | None:
        """Return the keys that the file has in ``section``; ``None`` if that is no map at all."""
        node = self.written.get(section, Table(self.written.mark))
        return tuple(node) if isinstance(node, Table) else None

    def listed_names(self, section: str) -> Collection[str]:
        """Return what the elements of the list ``section`` call themselves, in ``config``."""
        return tuple(element.name for element in getattr(self.config, section))

    def whole(self, *path: str | int) -> bool:
        """Whether nothing at or below ``path`` was wrong."""
        where = str(path[0]) if len(path) == 1 else nearest(self.root, path).where
        return not any(name == where or name.startswith((f"{where}.", f"{where}[")) for name in self.spoiled)

    def mark(self, path: Path) -> Mark:
        """Return where ``path`` stands, or what is nearest to it."""
        return nearest(self.root, path).mark


def walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Give each value of a configuration with its path, the containers first."""
    yield path, value
    if has(type(value)):
        attributes: Sequence[Attribute[Any]] = fields(type(value))
        for attribute in attributes:
            if not attribute.name.startswith("_"):
                yield from walk(getattr(value, attribute.name), (*path, attribute.name.rstrip("_")))
    elif isinstance(value, tuple):
        for position, item in enumerate(value):
            yield from walk(item, (*path, position))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from walk(item, (*path, key))
