import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import smtprelay
from smtprelay.config import Config, ConfigError, example, load
from smtprelay.config.setting import all_settings
from tests.config.loading import uncommented

EXAMPLE = Path(*smtprelay.__path__).parent / "etc" / "smtprelay.yaml"


class ExampleTests(SynchronousTestCase):
    def test_works_as_it_is(self) -> None:
        """The example without a change is a configuration without a warning."""
        loaded = load(str(EXAMPLE), {}, alone=True)
        self.assertEqual(loaded.warnings, ())
        self.assertEqual([route.via for route in loaded.config.routes], [("local",)])

    def test_a_copy(self) -> None:
        """``etc/smtprelay.yaml`` is what ``config example`` prints; ``make reference`` writes it."""
        self.assertEqual(EXAMPLE.read_text("utf-8"), example())

    def test_every_setting_is_valid(self) -> None:
        """What is commented out is right, and is there: nothing that is still to come is shown."""
        path = Path(self.mktemp())
        path.write_text(uncommented(example()))
        try:
            problems = load(str(path), {}, alone=True).warnings
        except ConfigError as error:
            problems = error.problems
        wrong = [str(p) for p in problems if p.severity == "error"]
        self.assertEqual(wrong, [])

    def test_every_key_is_shown(self) -> None:
        """There is no setting that the example does not show, with its own example."""
        text = uncommented(example())
        shown = list(all_settings(Config))
        missing = {
            each.key
            for each in shown
            if each.where != "routes.*.webhook"
            and not re.search(
                rf"^[ -]*{each.name}:{re.escape(f' {each.example}'.rstrip())}( |$)", text, re.MULTILINE
            )
        }
        self.assertEqual(missing, set())

    def test_lines(self) -> None:
        """Each setting has one explanation, beside it or above it; no line is longer than 110 characters."""
        lines = example().splitlines()
        self.assertLessEqual(max(map(len, lines)), 110)
        for line in (
            "#hostname: relay.example.com",
            "#    concurrency: 10                        # most requests, or connections, at once",
            "##   what happens to mail older than expire; one of bounce, hold, discard, webhook.",
            "#    blind: together",
            "##   one request with all of them in Bcc; default: single.",
            f"{'#  acs2:':<44}# with access_keys and endpoint instead of connection_string",
            "##   also rate, concurrency, limits, ca, client_certificate and client_key, as above",
        ):
            self.assertIn(line, lines)
