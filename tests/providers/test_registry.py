"""Which types of provider there are: ours, and those of other packages."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import mkdtemp
from textwrap import indent
from typing import Literal

import yaml
from attrs import frozen
from jsonschema import Draft7Validator
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.providers.acs.kind import ACS
from smtprelay.providers.kind import ProviderKind
from smtprelay.providers.registry import BUILT_IN, GROUP, by_entry_point, kind_of, kinds, task_places
from smtprelay.settings.provider import ProviderSettings
from smtprelay.settings.secret import Secret
from tests.config.loading import SMALL, codes, problems_of, with_provider
from tests.test_packaging import Environment
from tests.test_readme import blocks

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "example_provider"

#: Finds a kind by one of the two ways, and what the whole registry has.
FOUND = """
from smtprelay.providers import registry as r
print([[kind.name for kind in way()] for way in (r.by_entry_point, r.by_plugin)], *r.all_kinds())
"""


#: Carries out commands one after the other, and prints a list of what they print.
SHOWN = """
import contextlib, io, json, sys
from smtprelay.cli import main

def shown(command):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(command.split()) == 0
    return out.getvalue()

print(json.dumps(list(map(shown, sys.argv[1:]))))
"""


@cache
def installed() -> Environment:
    """Install the example into an environment of its own, in which our relay can be imported."""
    folder = Path(mkdtemp(dir=".")).absolute()
    environment = Environment(folder / "venv")
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    with (site / "libraries.pth").open("a") as paths:
        paths.write(f"{ROOT}\n")
    copytree(EXAMPLE, folder / "package", ignore=ignore_patterns("dropin.cache", "__pycache__", "test_*"))
    environment.install(folder / "package")
    return environment


def run(*arguments: object, status: int = 0, **variables: str) -> str:
    """Run Python in that environment, and return what it printed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SMTPR"))}
    done = subprocess.run(
        [str(installed().python), *map(str, arguments)],
        cwd=mkdtemp(dir="."),
        check=False,
        env={**environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode != status:
        raise AssertionError(f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def shown(*commands: str) -> list[str]:
    """Carry out commands of ``smtprelay`` in one Python of that environment; return what each prints."""
    return json.loads(run("-c", SHOWN, *commands))


class BuiltInTests(SynchronousTestCase):
    def test_by_name(self) -> None:
        """A kind has the name that its settings have as their type."""
        self.assertEqual(
            {name: kind.name for name, kind in BUILT_IN.items()}, {name: name for name in BUILT_IN}
        )
        self.assertIs(kinds("acs")["acs"], ACS)

    def test_only_own_settings(self) -> None:
        """A setting of one kind is no setting of another."""
        problems = problems_of(with_provider("type: capture, path: p, timeout: 9s"))
        self.assertEqual(codes(problems), ["CFG-UNKNOWN-KEY"])

    def test_of_settings(self) -> None:
        """The kind of settings is that of their type; what nothing registers has none."""

        @frozen(kw_only=True)
        class Unknown(ProviderSettings):
            type: str = "unknown"

        self.assertRaises(LookupError, kind_of, Unknown())

    def test_where_tasks_are(self) -> None:
        """The package of a kind may define tasks of the MIME worker, if a provider of it is configured."""

        @frozen(kw_only=True)
        class Other(ProviderSettings):
            type: str = "other"

        Other.__module__ = "other_package.kind"
        ours = ProviderSettings(type="x")
        self.assertEqual(
            (task_places([ours]), task_places([ours, Other(), Other()])), ([], ["other_package"])
        )

    def test_broken(self) -> None:
        """A package that cannot be imported is warned of, and keeps no other away."""
        metadata = Path(self.mktemp()).absolute() / "broken-1.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text("Name: broken\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text(f"[{GROUP}]\nbroken = no_such_module:KIND\n")
        self.patch(sys, "path", [str(metadata.parent), *sys.path])
        found = [kind.name for kind in by_entry_point()]
        self.assertNotIn("broken", found)
        [warning] = self.flushWarnings()
        self.assertIn(
            "no_such_module:KIND adds no provider type broken: ModuleNotFoundError", warning["message"]
        )

    def test_names_of_secrets(self) -> None:
        """A secret has a name by which it is hidden where a line of the file is quoted."""

        @frozen(kw_only=True)
        class Settings(ProviderSettings):
            type: Literal["x"]
            credit: Secret | None = None

        error = self.assertRaises(ValueError, ProviderKind, settings=Settings, build=ACS.build)
        self.assertIn("credit: the name of a secret has one of password", str(error))


class DocumentTests(SynchronousTestCase):
    def test_it_is_the_example(self) -> None:
        """The page for those who write a provider shows all files of the example as they are."""
        page = (ROOT / "docs" / "writing-a-provider.rst").read_text("utf-8")
        files = [*EXAMPLE.glob("*.*"), *EXAMPLE.glob("twisted/plugins/*.py")]
        self.assertEqual(len(files), 4)
        for file in files:
            self.assertIn(f"``{file.relative_to(EXAMPLE)}``:\n\n.. code-block::", page)
            self.assertIn(f"\n\n{indent(file.read_text(), '   ')}", page)

    def test_it_is_small(self) -> None:
        """A provider with an HTTP API is a package of less than a hundred lines."""
        files = [
            EXAMPLE / "pyproject.toml",
            EXAMPLE / "smtprelay_postbox.py",
            *EXAMPLE.glob("twisted/*/*.py"),
        ]
        self.assertLess(sum(len(file.read_text().splitlines()) for file in files), 100)


class InstalledTests(SynchronousTestCase):
    """The example, installed by pip: once, for that takes longer than all that is asked of it."""

    def test_installed(self) -> None:
        """It is found, configured, checked and explained like a provider of ours, and passes the contract."""
        checks = (self.found_both_ways, self.contract, self.configured, self.mistakes, self.explained)
        for check in checks:
            with self.subTest(check.__name__):
                check()

    def configure(self, settings: str) -> Path:
        file = Path(self.mktemp()).absolute()
        file.write_text(SMALL.replace("local: {type: capture, path: captured}", f"box: {{{settings}}}"))
        return file

    def found_both_ways(self) -> None:
        """It is found by its entry point and as a Twisted plugin, and is one kind."""
        types = "postbox acs graph ses mailgun resend smarthost capture"
        self.assertEqual(run("-c", FOUND), f"[['postbox'], ['postbox']] {types}\n")

    def contract(self) -> None:
        """It passes the contract suite, which our package brings."""
        tests = EXAMPLE / "test_smtprelay_postbox.py"
        self.assertIn("PASSED (successes=15)", run("-m", "twisted.trial", tests))

    def configured(self) -> None:
        """Its settings are read, have defaults and limits, are masked, and come from the environment, too."""
        file = self.configure("type: postbox, api_key: very-secret")
        shown = run(
            "-m",
            "smtprelay",
            "-o",
            "json",
            "-c",
            file,
            "config",
            "show",
            SMTPRELAY_PROVIDERS__BOX__STREAM="bulk",
        )
        self.assertNotIn("very-secret", shown)
        box = json.loads(shown)["data"]["providers"]["box"]
        self.assertEqual((box["stream"], box["api_key"], box["timeout"]), ("bulk", "‹inline›", "30s"))
        self.assertEqual(box["limits"], {"size": None, "request": None, "recipients": 50})

    def mistakes(self) -> None:
        """A misspelt key gets did-you-mean, a wrong value says what is expected, a secret is not quoted."""
        file = self.configure("type: postbox, api_keys: very-secret, stream: noise")
        told = run("-m", "smtprelay", "-c", file, "config", "check", status=78)
        self.assertIn('unknown key "api_keys" - did you mean "api_key"?', told)
        self.assertIn('unknown value "noise": expected alerts or bulk', told)
        self.assertNotIn("very-secret", told)
        told = run("-m", "smtprelay", "-c", self.configure("type: postbx"), "config", "check", status=78)
        self.assertIn('unknown type "postbx" - did you mean "postbox"?', told)

    def explained(self) -> None:
        """``config explain``, ``config schema`` and ``config example`` have its settings."""
        found, schema, example = shown(
            "config explain providers.postbox.stream", "config schema", "config example"
        )
        for words in ("Postbox counts each apart", "alerts or bulk", "SMTPRELAY_PROVIDERS__NAME__STREAM"):
            self.assertIn(words, found)
        schema = json.loads(schema)
        sections = schema["properties"]["providers"]["anyOf"][0]["additionalProperties"]["anyOf"]
        self.assertIn("stream", {key for section in sections for key in section["properties"]})
        [box] = blocks(ROOT / "docs" / "writing-a-provider.rst", "yaml")
        self.assertTrue(Draft7Validator(schema).is_valid(yaml.safe_load(box)))
        self.assertIn("\n#  postbox:", example)
        self.assertIn("\n#    api_key: {file: /run/secrets/postbox}  # the key of the account\n", example)
