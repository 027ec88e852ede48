import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from attrs import fields, has
from twisted.trial.unittest import SynchronousTestCase

import smtprelay
from smtprelay.config import Config, ConfigError, example, load
from smtprelay.config.example import reference
from smtprelay.config.unavailable import ROWS

EXAMPLE = Path(*smtprelay.__path__).parent / "etc" / "smtprelay.yaml"


def keys(kind: Any) -> Iterator[str]:
    """Give every key that a configuration may have."""
    if has(kind):
        for field in fields(kind):
            yield field.name.strip("_")
            yield from keys(field.type)
    for part in get_args(kind):
        yield from keys(part)


class ExampleTests(SynchronousTestCase):
    def test_works_as_it_is(self) -> None:
        """The example without a change is a configuration without a warning."""
        loaded = load(str(EXAMPLE), {}, alone=True)
        self.assertEqual(loaded.warnings, ())
        self.assertEqual([route.via for route in loaded.config.routes], [("local",)])

    def test_a_copy(self) -> None:
        """``etc/smtprelay.yaml`` is what ``smtprelay config example`` prints."""
        self.assertEqual(EXAMPLE.read_text("utf-8"), example())

    def test_every_setting_is_valid(self) -> None:
        """What is commented out is right: all that is told is what this version cannot do yet."""
        path = Path(self.mktemp())
        path.write_text(reference())
        error = self.assertRaises(ConfigError, load, str(path), {}, alone=True)
        wrong = [str(p) for p in error.problems if p.code != "CFG-UNAVAILABLE" and p.severity == "error"]
        self.assertEqual(wrong, [])

    def test_later(self) -> None:
        """What this version does not support is marked so, in its line."""
        path = Path(self.mktemp())
        path.write_text(reference())
        error = self.assertRaises(ConfigError, load, str(path), {}, alone=True)
        lines = example().split("\n")
        marked = [lines[p.line - 1] for p in error.problems if p.code == "CFG-UNAVAILABLE"]
        self.assertEqual([line for line in marked if "later" not in line], [])

    def test_every_row_is_met(self) -> None:
        """Each setting of the table of what is not available exists: the example uses most of them."""
        path = Path(self.mktemp())
        path.write_text(reference())
        error = self.assertRaises(ConfigError, load, str(path), {}, alone=True)
        met = {p.text for p in error.problems if p.code == "CFG-UNAVAILABLE"}
        whats = {f"{row.what} {row.word}" if row.word else row.what for row in ROWS}
        unused = {w for w in whats if f"{w} is not available in this version" not in met}
        others = {
            "privacy.addresses: masked",
            "privacy.subjects: false",
            "the timeout of a folder",
        }
        self.assertEqual(unused, others)

    def test_every_key_is_shown(self) -> None:
        """There is no setting that the example does not show."""
        text = reference()
        missing = {
            key for key in keys(Config) if not re.search(rf"(^|[\s{{]){re.escape(key)}:", text, re.MULTILINE)
        }
        # Values that one word spells: <2MiB, 30/min, and a secret's insides.
        self.assertEqual(
            missing - {"smallest", "largest", "count", "seconds", "place", "read", "expires"}, set()
        )
