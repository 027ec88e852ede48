"""
Settings that the roadmap promises and this version does not have.

They have no class: each is removed from the tree and refused by name, so that it does not look like a
spelling mistake. A new feature removes its row.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from smtprelay.config.problem import Finding
from smtprelay.config.tree import Items, Scalar, Table, TreeNode, nearest
from smtprelay.settings.complaint import Path as Place


class UnavailableSetting(NamedTuple):
    """
    One setting, or one value of it.

    :ivar setting: its key; ``*`` is every entry of a map or list.
    :ivar what: what is not available.
    :ivar word: the value that is not available; ``""`` is every value.
    """

    setting: str
    what: str
    word: str = ""


ROWS: Final = (UnavailableSetting("listeners.*.tls.client_ca", "checking the certificates of clients"),)


def unavailable(root: Table) -> list[Finding]:
    """
    Return a finding for each setting of ``root`` that a row of :data:`ROWS` names.

    An empty one asks for nothing: its finding is not reported. Of a type the whole entry is removed, so
    that its other keys are not checked.
    """
    return [
        Finding(
            node.mark,
            sentence(row),
            "CFG-UNAVAILABLE",
            nearest(root, path[:-1]) if row.setting.endswith(".type") else node,
            follows=node.null if isinstance(node, Scalar) else not node,
        )
        for row in ROWS
        for path, node in _select(root, row.setting.split("."), ())
        if row.word.lower() in {"", _text(node).lower()}
    ]


def why_unknown(key: str) -> str:
    """Return why the setting ``key`` (``routes.*.rewrite``) is not available; ``""`` if no row names it."""
    return next((sentence(row) for row in ROWS if not row.word and row.setting == key), "")


def sentence(row: UnavailableSetting) -> str:
    """Return what a row says to the operator."""
    return f"{f'{row.what} {row.word}'.rstrip()} is not available in this version"


def _text(node: TreeNode | None) -> str:
    return node.text if isinstance(node, Scalar) else ""


def _select(node: TreeNode, keys: list[str], path: Place) -> Iterator[tuple[Place, TreeNode]]:
    if not keys:
        yield path, node
        return
    entries: list[tuple[str | int, TreeNode]] = []
    if isinstance(node, Table):
        entries += node.items()
    elif isinstance(node, Items):
        entries += enumerate(node)
    for key, value in entries:
        if keys[0] in {"*", str(key)}:
            yield from _select(value, keys[1:], (*path, key))
