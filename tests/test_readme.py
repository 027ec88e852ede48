"""The README's first steps must work as they stand there."""

import re
from pathlib import Path
from textwrap import dedent

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import load

ROOT = Path(__file__).parents[1]


class ReadmeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.text = (ROOT / "README.rst").read_text("utf-8")

    def test_configuration(self) -> None:
        """The README's configuration is one that the relay takes, without a warning."""
        (block,) = re.findall(r"code-block:: yaml\n\n((?:    .*\n|\n)+)", self.text)
        path = Path(self.mktemp())
        path.write_text(dedent(block))
        loaded = load(str(path), {}, alone=True)
        self.assertEqual((list(loaded.config.providers), loaded.warnings), (["acs"], ()))

    def test_commands(self) -> None:
        """Every ``make`` target that the README names exists."""
        named = set(re.findall(r"make (\w+)``|^    make (\w+)$", self.text, re.MULTILINE))
        targets = {one or other for one, other in named}
        rules = re.findall(r"^([\w ]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        self.assertEqual(targets - set(" ".join(rules).split()), set())
        self.assertIn("demo", targets)
