"""
What is looked for in a configuration that is well-formed.

``consistency`` finds settings that contradict each other, ``security`` what could be abused, ``secrets`` and
``files`` what is missing outside the file; ``dkim`` has checks of both kinds, ``rewrite`` those of what is
changed on the way out. A check gets a
:class:`CheckedConfig`. It must not report what only follows from another mistake: so it can ask which names
the file has, and whether a part of it is free of mistakes.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from attrs import Attribute, field, fields, frozen, has

from smtprelay.config.model import Config
from smtprelay.config.tree import Mark, Table, nearest
from smtprelay.settings.complaint import Path, spelled


@frozen
class CheckedConfig:
    """
    A configuration with its tree.

    :ivar config: what is right in the file, with defaults.
    :ivar root: the tree of ``config``.
    :ivar written: the tree of the file, mistakes included.
    :ivar invalid: the names, for people, of the wrong nodes.
    :ivar variables: the names of the values that are a variable's, each with that variable.
    """

    config: Config
    root: Table
    written: Table
    invalid: Collection[str]
    variables: Mapping[str, str] = field(factory=dict)

    def names(self, section: str) -> Collection[str] | None:
        """Return the keys of ``section`` in the file; ``None`` if it is not a map."""
        node = self.written.get(section, Table(self.written.mark))
        return tuple(node) if isinstance(node, Table) else None

    def listed_names(self, section: str) -> Collection[str]:
        """Return the names of the entries of the list ``section`` in ``config``."""
        return tuple(element.name for element in getattr(self.config, section))

    def whole(self, *path: str | int) -> bool:
        """Return whether everything at and below ``path`` is right."""
        where = str(path[0]) if len(path) == 1 else nearest(self.root, path).where
        return not any(name == where or name.startswith((f"{where}.", f"{where}[")) for name in self.invalid)

    def mark(self, path: Path) -> Mark:
        """Return the place of ``path``, or the nearest one; for the value of a variable that variable."""
        variable, node = self.variables.get(spelled(path)), nearest(self.root, path)
        return node.mark if variable is None or node.where == spelled(path) else Mark(variable)


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
