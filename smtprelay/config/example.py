"""
The commented configuration with every setting; ``etc/smtprelay.yaml`` is a copy of it.
"""

import re
from pathlib import Path
from typing import Final

from smtprelay.config.tree import Items, Scalar, Table, TreeNode
from smtprelay.config.yaml_source import parse

#: The beginning of the part with every setting.
_MARKER: Final = "## Every setting"


def example() -> str:
    """Return the file: a small configuration that works, then every setting in comments."""
    return Path(__file__).with_name("example.yaml").read_text("utf-8")


def reference() -> str:
    """Return the part with every setting, uncommented; lines keep their numbers."""
    before, after = example().split(_MARKER)
    lines = [re.sub("^##.*", "", line).removeprefix("#") for line in after.splitlines()]
    return "\n" * before.count("\n") + "\n".join(["", *lines[1:]]) + "\n"


def example_of(key: str) -> str:
    """Return the example of ``key`` (``listeners.*.auth``) on one line, or ``""``."""
    found: list[TreeNode] = [parse(reference().encode(), "example.yaml", {}).root]
    for word in key.split("."):
        found = [node for each in found for node in _children(each, word)]
    return _flow(found[0]) if found else ""


def _children(node: TreeNode, word: str) -> list[TreeNode]:
    if isinstance(node, Table):
        return list(node.values()) if word == "*" else [node[word]] if word in node else []
    return list(node) if isinstance(node, Items) else []


def _flow(node: TreeNode) -> str:
    if isinstance(node, Table):
        return "{" + ", ".join(f"{key}: {_flow(value)}" for key, value in node.items()) + "}"
    if isinstance(node, Items):
        return f"[{', '.join(map(_flow, node))}]"
    assert isinstance(node, Scalar)
    return node.text if node.plain else f'"{node.text}"'
