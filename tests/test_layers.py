"""
The rules that keep a newcomer's map of the code true, as data.

Each rule is a table and one test that reads the source with :mod:`ast`; nothing of the
relay is imported for it, except once, in a process of its own, to see that no reactor comes along.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[1]

#: The stations of a mail's way; they meet in plain top-level modules and in the folders they share.
STATIONS = ("smtp", "policy", "spool", "dispatch", "providers")
SHARED = ("interfaces", "mime", "model", "net", "telemetry")

#: Where the relay begins.
ENTRIES = ("demo", "entry", "__main__")

#: Who may import what is not for everybody, with all that lies in it.
IMPORTERS = {
    "smtprelay.config": ("smtprelay.config", "smtprelay.service", "smtprelay.cli", "smtprelay.demo"),
    "smtprelay.service": (
        "smtprelay.service",
        "smtprelay.cli.commands.run",
        "smtprelay.cli.in_process",
        "smtprelay.demo",
        "smtprelay.entry",
    ),
    "smtprelay.demo": ("smtprelay.demo", "smtprelay.cli.commands.run"),
    "smtprelay.cli": ("smtprelay.cli", "smtprelay.__main__"),
    "smtprelay.testing": ("smtprelay.testing", "smtprelay.demo"),
    # What reads all of a mail is for the tasks of a MIME worker, which bounds it, and for the command line.
    "smtprelay.mime.parse": (
        "smtprelay.mime",
        "smtprelay.providers.acs.provider",
        "smtprelay.providers.acs.request",
        "smtprelay.providers.acs.attachment_types",
    ),
    "smtprelay.mime.structure": ("smtprelay.mime",),
    "smtprelay.mime.headers": ("smtprelay.mime",),
    "smtprelay.mime.markup": ("smtprelay.mime",),
    "smtprelay.mime.transfer_encoding": ("smtprelay.mime",),
    "smtprelay.mime.outgoing.finish": ("smtprelay.mime.outgoing",),
    "smtprelay.mime.outgoing.parts": ("smtprelay.mime.outgoing",),
    "smtprelay.mime.outgoing.header": ("smtprelay.mime.outgoing",),
    "smtprelay.providers.acs.request": (
        "smtprelay.providers.acs.provider",
        "smtprelay.providers.acs.refusal",
    ),
}

#: These install the reactor when they are imported; the adapters that need them are imported late.
INSTALLS_REACTOR = ("twisted.internet.reactor", "twisted.mail.smtp", "twisted.runner.procmon")
ADAPTERS = (
    "smtprelay.smtp.twisted_delivery",
    "smtprelay.policy.stock_server",
)

#: The design says that these are pure; so is each module that says it of itself.
PURE = (
    "smtprelay.smtp.command",
    "smtprelay.smtp.data",
    "smtprelay.smtp.session",
    "smtprelay.dispatch.retry",
    "smtprelay.providers.classify",
)
IMPURE = ("twisted", "time", "random", "os")

LONGEST = 400


def modules(folder: str = "smtprelay") -> Iterator[tuple[str, ast.Module]]:
    """Return name and tree of each module below ``folder``."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield name, ast.parse(path.read_text("utf-8"), str(path))


def imported(tree: ast.AST) -> Iterator[str]:
    """Return the dotted name of everything that ``tree`` imports, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_import(tree: ast.Module) -> Iterator[str]:
    """Return what ``tree`` imports when it is itself imported: all that is in no function."""
    pending: list[ast.AST] = [tree]
    while pending:
        for node in ast.iter_child_nodes(pending.pop()):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield from imported(node)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                pending += node.orelse
            elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                pending.append(node)


def within(name: str, package: str) -> bool:
    """Return whether ``name`` is ``package`` or lies in it."""
    return f"{name}.".startswith(f"{package}.")


class LayerTests(SynchronousTestCase):
    def test_stations_never_import_each_other(self) -> None:
        """A station imports its own modules, those at the top and what is shared."""
        top = {path.stem for path in (ROOT / "smtprelay").glob("*.py")} - {"service", *ENTRIES}
        top.update(SHARED)
        wrong = [
            f"{name} imports {target}"
            for station in STATIONS
            for name, tree in modules(f"smtprelay/{station}")
            for target in imported(tree)
            if target.startswith("smtprelay.") and target.split(".")[1] not in {station, *top}
        ]
        self.assertEqual(wrong, [])

    def test_importers(self) -> None:
        """What is not for everybody is imported by those alone that are named for it."""
        wrong = [
            f"{name} imports {target}"
            for name, tree in modules()
            for target in imported(tree)
            for guarded, allowed in IMPORTERS.items()
            if within(target, guarded) and not any(within(name, one) for one in allowed)
        ]
        self.assertEqual(wrong, [])

    def test_pure_modules(self) -> None:
        """A pure module imports nothing that waits, reads the clock, or throws dice."""
        pure = {
            name: tree
            for name, tree in modules()
            if name in PURE or re.search(r"\bPure\b", ast.get_docstring(tree) or "")
        }
        self.assertEqual(set(PURE) - set(pure), set(), "a module moved: change the table")
        wrong = [
            f"{name} imports {target}"
            for name, tree in pure.items()
            for target in at_import(tree)
            if any(within(target, one) for one in IMPURE)
        ]
        self.assertEqual(wrong, [])

    def test_nothing_imports_the_reactor(self) -> None:
        """No module imports, outside of a function, what installs the global reactor."""
        wrong = [
            f"{name} imports {target}"
            for name, tree in modules()
            if name not in ADAPTERS
            for target in at_import(tree)
            if any(within(target, one) for one in (*INSTALLS_REACTOR, *ADAPTERS))
        ]
        self.assertEqual(wrong, [])

    def test_no_reactor_comes_along(self) -> None:
        """All modules but the adapters can be imported without any reactor being installed."""
        names = [name for name, _ in modules() if name not in ADAPTERS and not name.endswith("__main__")]
        script = (
            "import importlib, sys; seen = [name for name in sys.argv[1:] if importlib.import_module(name)"
            " and sys.modules.pop('twisted.internet.reactor', None)]; print(seen)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, *names],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.assertEqual((done.stdout, done.returncode), ("[]\n", 0), done.stderr)


class StyleTests(SynchronousTestCase):
    def test_length(self) -> None:
        """No module of the relay is longer than a person reads at a time."""
        lengths = {
            str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
            for path in (ROOT / "smtprelay").rglob("*.py")
        }
        self.assertEqual({name: length for name, length in lengths.items() if length > LONGEST}, {})

    def test_modules_say_why(self) -> None:
        """Every module of the relay opens with why it exists."""
        wrong = [name for name, tree in modules() if len(ast.get_docstring(tree) or "") < len("Because…" * 3)]
        self.assertEqual(wrong, [])

    def test_tests_state_a_behaviour(self) -> None:
        """Every test says in its docstring what it proves."""
        wrong = [f"{name}.{test.name}" for name, _, test in tests() if not ast.get_docstring(test)]
        self.assertEqual(wrong, [])

    def test_tests_are_run(self) -> None:
        """No test is a coroutine, except in a TestCase: a SynchronousTestCase would not run it through."""
        wrong = [
            f"{name}.{test.name}"
            for name, bases, test in tests()
            if isinstance(test, ast.AsyncFunctionDef) and "TestCase" not in bases
        ]
        self.assertEqual(wrong, [])


class RuleTests(SynchronousTestCase):
    """The rules themselves: that they would see what they forbid."""

    def test_at_import(self) -> None:
        """Imports in functions are not at import; those in try and class are; typing's do not count."""
        source = """
from twisted.internet import reactor
try:
    import a
except ImportError:
    import b
class C:
    import c
def f():
    import d
if TYPE_CHECKING:
    import e
"""
        self.assertEqual(sorted(at_import(ast.parse(source))), ["a", "b", "c", "twisted.internet.reactor"])

    def test_within(self) -> None:
        """A package is not another one that begins with its name."""
        self.assertTrue(within("smtprelay.config.values", "smtprelay.config"))
        self.assertFalse(within("smtprelay.configuration", "smtprelay.config"))


def tests() -> Iterator[tuple[str, list[str], ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Return every test with its class: its name, and what it derives from."""
    for module, tree in modules("tests"):
        for case in ast.walk(tree):
            if isinstance(case, ast.ClassDef):
                bases = [ast.unparse(base).rpartition(".")[2] for base in case.bases]
                for test in case.body:
                    if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef) and test.name.startswith(
                        "test_"
                    ):
                        yield f"{module}.{case.name}", bases, test
