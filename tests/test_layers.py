"""
The rules that keep a newcomer's map of the code true, as data.

Each rule is a table and one test that reads the source with :mod:`ast`; nothing of the
relay is imported for it, except once, in a process of its own, to see that no reactor comes along.
"""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping

from twisted.trial.unittest import SynchronousTestCase

from tests.statements import ROOT, module_name, statements, trees

#: The stations of a mail's way; they meet in plain top-level modules and in the folders they share.
STATIONS = ("smtp", "policy", "spool", "dispatch", "providers")
SHARED = ("azure", "http", "interfaces", "mime", "model", "net", "settings", "telemetry")

#: Where the relay begins.
ENTRIES = ("demo", "entry", "__main__")

#: The folders of providers.
PROVIDERS = tuple(sorted(path.parent.name for path in (ROOT / "smtprelay" / "providers").glob("*/kind.py")))

#: Who may import what is not for everybody, with all that lies in it.
IMPORTERS = {
    "smtprelay.config": ("smtprelay.config", "smtprelay.service", "smtprelay.cli", "smtprelay.demo"),
    "smtprelay.service": (
        "smtprelay.service",
        "smtprelay.cli.commands.config",
        "smtprelay.cli.commands.run",
        "smtprelay.cli.in_process",
        "smtprelay.demo",
        "smtprelay.entry",
    ),
    # Values reach the stations; settings are for who reads them, and for providers, which bring their own.
    "smtprelay.settings": (
        "smtprelay.settings",
        "smtprelay.config",
        "smtprelay.service",
        "smtprelay.providers.context",
        "smtprelay.providers.kind",
        "smtprelay.providers.registry",
        *(f"smtprelay.providers.{provider}.kind" for provider in PROVIDERS),
        "smtprelay.providers.ses.vault_settings",
    ),
    # A provider is known by its kind: its name stands in its folder and in the registry.
    "smtprelay.providers.registry": ("smtprelay.config", "smtprelay.service"),
    **{
        f"smtprelay.providers.{provider}": (f"smtprelay.providers.{provider}", "smtprelay.providers.registry")
        for provider in PROVIDERS
    },
    "smtprelay.demo": ("smtprelay.demo", "smtprelay.cli.commands.run"),
    "smtprelay.cli": ("smtprelay.cli", "smtprelay.__main__"),
    "smtprelay.testing": ("smtprelay.testing", "smtprelay.demo"),
    # What reads all of a mail is for the tasks of a MIME worker, which bounds it, and for the command line.
    "smtprelay.mime.parse": (
        "smtprelay.mime",
        "smtprelay.providers.acs.request",
        "smtprelay.providers.acs.attachment_types",
        "smtprelay.providers.inline_parts",
        "smtprelay.providers.json_mail",
        "smtprelay.providers.mapped_mail",
        "smtprelay.providers.resend.request",
    ),
    "smtprelay.mime.structure": ("smtprelay.mime",),
    "smtprelay.mime.headers": ("smtprelay.mime",),
    "smtprelay.mime.markup": ("smtprelay.mime",),
    "smtprelay.mime.transfer_encoding": ("smtprelay.mime",),
    "smtprelay.mime.outgoing.finish": ("smtprelay.mime.outgoing",),
    "smtprelay.mime.outgoing.parts": ("smtprelay.mime.outgoing",),
    "smtprelay.mime.outgoing.field_changes": (
        "smtprelay.mime.attachment_cut",
        "smtprelay.mime.outgoing",
        "smtprelay.mime.rewrite",
    ),
    "smtprelay.providers.acs.request": (
        "smtprelay.providers.acs.provider",
        "smtprelay.providers.acs.errors",
    ),
    "smtprelay.providers.resend.request": ("smtprelay.providers.resend.provider",),
}

#: These install the reactor when they are imported; the adapters that need them are imported late.
INSTALLS_REACTOR = ("twisted.internet.reactor", "twisted.mail.smtp", "twisted.runner.procmon")
ADAPTERS = ("smtprelay.smtp.twisted_delivery",)

#: The design says that these are pure; so is each module that says it of itself.
PURE = (
    "smtprelay.smtp.command",
    "smtprelay.smtp.data",
    "smtprelay.smtp.session",
    "smtprelay.dispatch.retry",
    "smtprelay.http.outcomes",
)
IMPURE = ("twisted", "time", "random", "os")

LONGEST = 400

#: Modules in one folder of the relay; ``bench`` and ``tests`` may have more.
MOST_MODULES = 24

#: Nothing is made of more than so many parameters, unless it is one value.
MOST_PARAMETERS = 7

#: Values lie in these folders, have one of these endings, or consist of these types and of other values.
VALUE_FOLDERS = ("smtprelay.config", "smtprelay.model", "smtprelay.settings", "smtprelay.testing")
VALUE_ENDING = "Settings"
PLAIN = frozenset(
    "bool bytes float frozenset int list dict str tuple Literal Mapping None Pattern Sequence re set".split()  # noqa: SIM905
)


def modules(package: str = "smtprelay") -> Iterator[tuple[str, ast.Module]]:
    """Give name and tree of each module of ``package``."""
    for name, tree in trees(package.partition(".")[0]).items():
        if within(name, package):
            yield name, tree


def imported(tree: ast.AST) -> Iterator[str]:
    """Return the dotted name of everything that ``tree`` imports, at any depth."""
    for node in statements(tree):
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
            elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.expr):
                pending.append(node)


def within(name: str, package: str) -> bool:
    """Return whether ``name`` is ``package`` or lies in it."""
    return f"{name}.".startswith(f"{package}.")


def aliases(tree: ast.Module) -> Iterator[tuple[str, list[ast.expr | None]]]:
    """Return the name of each alias of ``tree``, and what it stands for."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, [node.value]


def constructors(tree: ast.Module) -> Iterator[tuple[str, list[ast.expr | None]]]:
    """
    Return the name of each class of ``tree``, and the annotation of each parameter by which it is made.

    A private field that has a default is state: nobody gives it.
    """
    for node in statements(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        made = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
        for each in made:
            own = each.args
            given = [*own.posonlyargs, *own.args, *own.kwonlyargs, *filter(None, (own.vararg, own.kwarg))]
            yield node.name, [parameter.annotation for parameter in given[1:]]
        if not made and re.search("define|frozen", " ".join(map(ast.unparse, node.decorator_list))):
            fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
            yield node.name, [each.annotation for each in fields if not is_state(each)]


def is_state(field: ast.AnnAssign) -> bool:
    """Tell whether a field of an attrs class is none that a caller gives."""
    name, value = ast.unparse(field.target), "" if field.value is None else ast.unparse(field.value)
    has_default = value and ("field(" not in value or "default=" in value or "factory=" in value)
    return "init=False" in value or bool(name.startswith("_") and has_default)


def values(made: Mapping[str, list[ast.expr | None]]) -> set[str]:
    """Return the names of those that are made of plain types and values alone."""
    known: set[str] = set(PLAIN)
    while True:
        more = {
            name
            for name, given in made.items()
            if name not in known and all(each is not None and names(each) <= known for each in given)
        }
        if not more:
            return known
        known |= more


def names(annotation: ast.expr) -> set[str]:
    """Return the names in an annotation."""
    found = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    return found | {node.attr for node in ast.walk(annotation) if isinstance(node, ast.Attribute)}


class LayerTests(SynchronousTestCase):
    def test_stations_never_import_each_other(self) -> None:
        """A station imports its own modules, those at the top and what is shared."""
        top = {path.stem for path in (ROOT / "smtprelay").glob("*.py")} - {"service", *ENTRIES}
        top.update(SHARED)
        wrong = [
            f"{name} imports {target}"
            for station in STATIONS
            for name, tree in modules(f"smtprelay.{station}")
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
        found = map(module_name, sorted((ROOT / "smtprelay").rglob("*.py")))
        names = [name for name in found if name not in ADAPTERS and not name.endswith("__main__")]
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

    def test_folders(self) -> None:
        """No folder of the relay has more modules than a person sees at once."""
        counts = Counter(path.parent for path in (ROOT / "smtprelay").rglob("*.py"))
        self.assertEqual([folder for folder, count in counts.items() if count > MOST_MODULES], [])

    def test_constructors(self) -> None:
        """Nothing but one value is made of more things than a person keeps in mind."""
        trees = dict(modules())
        made: dict[str, list[ast.expr | None]] = {}
        for found in (aliases, constructors):
            for module, tree in trees.items():
                is_value = any(within(module, folder) for folder in VALUE_FOLDERS)
                for name, given in found(tree):
                    made[name] = [] if is_value or name.endswith(VALUE_ENDING) else given
        large = {name for name, given in made.items() if len(given) > MOST_PARAMETERS}
        self.assertEqual(large - values(made), set())

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

    def test_values(self) -> None:
        """A value consists of plain types and values; what holds a service is none, whatever else it has."""
        source = """
Sizes = Mapping[str, int]
@frozen
class Value:
    text: str
    sizes: Sizes = field(factory=dict)
@define
class Nested:
    one: Value | None
    _seen: set[Service] = field(factory=set)
class Service:
    def __init__(self, clock: IReactorTime, *, number: int = 0) -> None: ...
@frozen
class Bag:
    value: Value
    service: Service
    _tell: Callable[[], None] = field(kw_only=True)
    made: Service = field(init=False)
"""
        tree = ast.parse(source)
        made = dict([*aliases(tree), *constructors(tree)])
        self.assertEqual(values(made) - PLAIN, {"Sizes", "Value", "Nested"})
        self.assertEqual([len(made[name]) for name in ("Value", "Nested", "Service", "Bag")], [2, 1, 2, 3])

    def test_within(self) -> None:
        """A package is not another one that begins with its name."""
        self.assertTrue(within("smtprelay.config.values", "smtprelay.config"))
        self.assertFalse(within("smtprelay.configuration", "smtprelay.config"))


def tests() -> Iterator[tuple[str, list[str], ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Return every test with its class: its name, and what it derives from."""
    for module, tree in modules("tests"):
        for case in statements(tree):
            if isinstance(case, ast.ClassDef):
                bases = [ast.unparse(base).rpartition(".")[2] for base in case.bases]
                for test in case.body:
                    if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef) and test.name.startswith(
                        "test_"
                    ):
                        yield f"{module}.{case.name}", bases, test
