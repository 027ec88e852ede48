"""
The sources of the relay and of the tests, as trees.

To go through the statements of one costs a tenth of going through all its nodes.
"""

import ast
import gc
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def trees(folder: str = "smtprelay") -> Mapping[str, ast.Module]:
    """Return the tree of each module below ``folder``, by its name: read once, and not to be changed."""
    gc.disable()  # whatever is made here stays
    try:
        paths = sorted((ROOT / folder).rglob("*.py"))
        found = {module_name(path): ast.parse(path.read_text("utf-8"), str(path)) for path in paths}
    finally:
        gc.enable()
    gc.freeze()
    return found


def module_name(path: Path) -> str:
    """Return the name of the module in the file ``path``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Give ``tree`` and the statements within it, at any depth."""
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            pending += getattr(node, block, ())
