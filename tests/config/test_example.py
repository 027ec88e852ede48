import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from attrs import fields, has
from twisted.trial.unittest import SynchronousTestCase

import smtprelay
from smtprelay.config import Config, ConfigError, example, load
from smtprelay.config.example import reference

EXAMPLE = Path(*smtprelay.__path__).parent / "etc" / "smtprelay.yaml"


#: Values that one word spells (<2MiB, 30/min), a secret's insides, and privacy: only the default works.
VALUES = set("smallest largest count seconds unit place read warn expires privacy subjects addresses".split())  # noqa: SIM905


def keys(kind: Any) -> Iterator[str]:
    """Give every key that a configuration may have."""
    if has(kind):
        for field in fields(kind):
            name = field.name.strip("_")
            yield name
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
        """What is commented out is right, and is there: nothing that is still to come is shown."""
        path = Path(self.mktemp())
        path.write_text(reference())
        try:
            problems = load(str(path), {}, alone=True).warnings
        except ConfigError as error:
            problems = error.problems
        wrong = [str(p) for p in problems if p.severity == "error"]
        self.assertEqual(wrong, [])

    def test_every_key_is_shown(self) -> None:
        """There is no setting that the example does not show."""
        text = reference()
        missing = {
            key for key in keys(Config) if not re.search(rf"(^|[\s{{]){re.escape(key)}:", text, re.MULTILINE)
        }
        self.assertEqual(missing - VALUES, set())
