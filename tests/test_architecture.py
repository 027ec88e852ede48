"""The ways through the code that ``docs/architecture.rst`` names are those of the source."""

import ast
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[1]


def functions(file: Path) -> set[str]:
    """Return the functions of a module, and the methods of its classes as ``Class.method``."""
    found = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            methods = (each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
            found |= {f"{node.name}.{method.name}" for method in methods}
    return found


class WaysTests(SynchronousTestCase):
    def test_each_function_exists(self) -> None:
        """Each station of every way is a function of the module that is named with it."""
        text = (ROOT / "docs" / "architecture.rst").read_text("utf-8")
        ways = re.findall(r"\.\. way\n(.+?)\.\. end of way", text, re.DOTALL)
        self.assertEqual(len(ways), 5)
        for way in ways:
            stations = re.findall(r"^   (\S+\.py):(\S+)", way, re.MULTILINE)
            self.assertGreater(len(stations), 15)
            for file, function in stations:
                self.assertIn(function, functions(ROOT / "smtprelay" / file), file)
