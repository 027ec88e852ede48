"""The database's threads are given functions with their values, and nothing of the reactor's side."""

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import smtprelay.spool

ROOT = Path(smtprelay.spool.__file__).parent

#: Attributes that hold a value; and the engine, which is of the database's side.
VALUES = ("_chunks", "_ended", "_engine", "_message", "_rate_limits", "change", "id", "message")

#: What somebody who hands on was given.
HANDED_ON = ("operation", "question")


def closures(tree: ast.AST) -> set[str]:
    """Return the names of functions within functions."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    outer = [each for each in ast.walk(tree) if isinstance(each, kinds)]
    return {each.name for o in outer for each in ast.walk(o) if isinstance(each, kinds) and each is not o}


def given(tree: ast.AST) -> Iterator[ast.expr]:
    """Give what is handed to the ``do`` of a reader or a writer, each part of a partial by itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "do":
            for each in node.args:
                yield from parts(each)


def parts(expression: ast.expr) -> Iterator[ast.expr]:
    """Give a function and the values that go along."""
    if not isinstance(expression, ast.Call):
        yield expression
        return
    for each in (*expression.args, *(keyword.value for keyword in expression.keywords)):
        yield from parts(each)


def strange(source: str) -> list[str]:
    """Return what must not go to another thread."""
    tree = ast.parse(source)
    within = closures(tree)
    return [ast.unparse(each) for each in given(tree) if is_strange(each, within)]


def is_strange(part: ast.expr, within: set[str]) -> bool:
    if isinstance(part, ast.Attribute) and ast.unparse(part.value) == "self":
        return part.attr not in VALUES
    if isinstance(part, ast.Name):
        return part.id == "self" or (part.id in within and part.id not in HANDED_ON)
    return isinstance(part, ast.Lambda)


class ThreadTests(SynchronousTestCase):
    def test_no_closure(self) -> None:
        """Neither a lambda, nor a function within a function, nor an object of ours goes along."""
        sources = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in ROOT.rglob("*.py")}
        found = {name: wrong for name, source in sources.items() if (wrong := strange(source))}
        self.assertEqual(found, {})

    def test_what_is_found(self) -> None:
        """A lambda, a closure and an object within a partial are seen; a function with values is not."""
        outer = "def outer(self):\n def inner(tx): ...\n self._writer.do({})"
        for wrong in ("lambda _: 1", "inner", "partial(f, self)", "partial(f, x=self._events)", "self._run"):
            self.assertEqual(len(strange(outer.format(wrong))), 1, wrong)
        for right in (
            "partial(claim, limit=limit, size=self.id)",
            "outer",
            "partial(g, rate_limits=self._rate_limits)",
        ):
            self.assertEqual(strange(outer.format(right)), [])
