"""Every module of the relay can be imported, with nothing but what ``setup.cfg`` declares."""

import ast
import importlib
import pkgutil
import re
import sys
from importlib.metadata import packages_distributions, requires

from twisted.trial.unittest import SynchronousTestCase

import smtprelay
from tests.statements import statements, trees


def names() -> list[str]:
    """Return the names of all modules; ``__main__`` would run the command."""
    found = pkgutil.walk_packages(smtprelay.__path__, "smtprelay.")
    return [module.name for module in found if not module.name.endswith("__main__")]


def imported() -> set[str]:
    """Return what is imported anywhere, by the first part of its name."""
    roots = set()
    for tree in trees().values():
        for node in statements(tree):
            if isinstance(node, ast.Import):
                roots |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                roots.add(node.module.partition(".")[0])
    return roots


def declared() -> set[str]:
    """Return the distributions that the relay requires, for itself or with ``all``."""
    others = re.compile("extra == .(?!all|aws|azure|postgres|vault)")
    needed = [line for line in requires("smtprelay") or () if not others.search(line)]
    return {plain(re.match(r"[\w.-]+", line)[0]) for line in needed}


def plain(name: str) -> str:
    """Return a distribution's name without its variants of spelling."""
    return re.sub(r"[-_.]+", "-", name).lower()


class ImportsTests(SynchronousTestCase):
    def test_every_module(self) -> None:
        """Each module can be imported."""
        found = names()
        for name in found:
            importlib.import_module(name)
        self.assertGreater(len(found), 200)

    def test_what_is_imported_is_declared(self) -> None:
        """What comes from elsewhere is declared by us, not only brought along by something else."""
        homes = packages_distributions()
        foreign = imported() - set(sys.stdlib_module_names) - {"smtprelay"}
        undeclared = {root for root in foreign if not declared() & set(map(plain, homes.get(root, ())))}
        self.assertEqual(undeclared, set())

    def test_what_is_declared_is_imported(self) -> None:
        """Nothing is installed that nothing imports."""
        homes = packages_distributions()
        used = {plain(home) for root in imported() for home in homes.get(root, ())}
        self.assertEqual(declared() - used - {"smtprelay"}, set())
