"""What the README and the pages of ``docs`` tell a newcomer to write must work as it stands there."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import Loaded, load
from tests.cli.fakes import CommandCase

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst")))


def blocks(page: Path, language: str) -> Sequence[str]:
    """Return the blocks of code on a page."""
    found = re.findall(rf"code-block:: {language}\n\n(( +).*\n(?:\2.*\n|\n)*)", page.read_text("utf-8"))
    return [dedent(block) for block, _indent in found]


def commands(page: Path) -> Sequence[Sequence[str]]:
    """Return the command lines of ``smtprelay`` in the literal blocks of a page, each as its words."""
    lines = re.findall(r"^ {4,}(smtprelay .*)$", page.read_text("utf-8"), re.MULTILINE)
    parts = [part for line in lines for part in line.split(" | ")]
    return [shlex.split(part, comments=True)[1:] for part in parts]


class ConfigurationTests(SynchronousTestCase):
    def loaded(self, text: str) -> Loaded:
        """Load a configuration without a look at the files it names."""
        path = Path(self.mktemp())
        path.write_text(text)
        return load(str(path), {}, alone=True)

    def test_whole_ones(self) -> None:
        """The configurations of the README and of the first steps are taken without a warning."""
        for page in (PAGES[0], ROOT / "docs" / "getting-started.rst"):
            loaded = self.loaded(blocks(page, "yaml")[0])
            self.assertEqual((list(loaded.config.providers), loaded.warnings), (["acs"], ()), page.name)

    def test_devices_that_log_in(self) -> None:
        """With a way out and a real hash the part about devices is a configuration, too."""
        part = blocks(ROOT / "docs" / "getting-started.rst", "yaml")[1].replace(
            "$scrypt$…", "$scrypt$ln=15,r=8,p=1$c2FsdHNhbHRzYWx0c2FsdA==$cSU1qI1mD0cmzGzCkZk1nQ=="
        )
        rest = "providers: {local: {type: capture, path: captured}}\n"
        self.assertEqual([user.name for user in self.loaded(part + rest).config.users], ["printer1"])


class CommandsTests(CommandCase):
    def test_make(self) -> None:
        """Every ``make`` target that the README names exists."""
        text = PAGES[0].read_text("utf-8")
        named = set(re.findall(r"make (\w+)``|^    make (\w+)(?: +#.*)?$", text, re.MULTILINE))
        targets = {one or other for one, other in named}
        rules = re.findall(r"^([\w ]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        self.assertEqual(targets - set(" ".join(rules).split()), set())
        self.assertIn("demo", targets)

    def test_smtprelay(self) -> None:
        """Every command line is one that is understood: its command, its options, their values."""
        found = [line for page in PAGES for line in commands(page)]
        self.assertGreater(len(found), 15)
        for line in found:
            ran = self.run_command(*line, "--help")
            self.assertEqual((ran.status, ran.err), (0, ""), line)

    def test_what_is_to_come(self) -> None:
        """Only the roadmap names what the relay cannot do yet; what the configuration refuses is there."""
        roadmap = (ROOT / "docs" / "roadmap.rst").read_text("utf-8")
        coming = ("BINARYMIME",)
        names = [
            *(page for page in PAGES if page.stem != "roadmap"),
            ROOT / "etc" / "smtprelay.yaml",
            ROOT / "setup.cfg",
        ]
        for word in coming:
            self.assertIn(word, roadmap)
            self.assertEqual(
                [page.name for page in names if word.lower() in page.read_text("utf-8").lower()], [], word
            )

    def test_links(self) -> None:
        """Files that are named exist."""
        text = PAGES[0].read_text("utf-8")
        named = re.findall(r"<((?:docs|etc)/[^>]+)>`_|``((?:docs|etc)/[^`]*)``", text)
        missing = [one or other for one, other in named if not (ROOT / (one or other)).exists()]
        self.assertEqual((missing, len(named) >= 5), ([], True))
