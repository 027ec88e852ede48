import json
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis.strategies import (
    booleans,
    dictionaries,
    floats,
    integers,
    lists,
    none,
    one_of,
    recursive,
    sampled_from,
    text,
)
from jsonschema import Draft7Validator
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import Config, Setting, example, json_schema
from smtprelay.config.from_tree import TreeReader
from smtprelay.config.json_schema import json_schema_of
from smtprelay.config.problem import Invalid
from smtprelay.config.references import outside_hooks
from smtprelay.config.setting import all_settings
from smtprelay.config.tree import Items, Mark, Scalar, Table, TreeNode
from smtprelay.settings.complaint import below
from tests.config.loading import SMALL, problems_of, uncommented
from tests.test_readme import PAGES, blocks

EVERY = [
    (each, Draft7Validator(json.loads(json.dumps(json_schema_of(each))))) for each in all_settings(Config)
]
READER = TreeReader(outside_hooks({}, Path("/x")))
#: Of each notation one, and some of none.
WORDS = (
    *("true", "False", "1", "2.5", "5%", "30s", "10MB", "30/min", "never", "off", "x", "null", "${X}"),
    *("a@b.org", "*@b.org", "https://x.org", "::1", "tcp:1"),
)
_SCALARS = one_of(
    none(),
    booleans(),
    integers(-1, 10**10),
    floats(0, 200).map(lambda number: round(number, 2)),
    text(max_size=3),
    sampled_from(WORDS),
)
VALUES = recursive(
    _SCALARS,
    lambda inner: (
        lists(inner, max_size=2)
        | dictionaries(sampled_from(("file", "env", "expires", "name", "url", "x")), inner, max_size=2)
    ),
    max_leaves=3,
)


def tree(value: object, where: str) -> TreeNode:
    """Return the node of a value, as it is read from a file."""
    mark = Mark("f", 1, 1)
    if isinstance(value, dict):
        table = Table(mark, where)
        for key, inner in value.items():
            table.put(key, tree(inner, below(where, key)), mark)
        return table
    if isinstance(value, list):
        items = Items(mark, where)
        items.extend(tree(inner, below(where, n)) for n, inner in enumerate(value))
        return items
    plain = not isinstance(value, str)
    return Scalar(value if isinstance(value, str) else json.dumps(value), mark, where, plain=plain)


def refused(setting: Setting, value: object) -> bool:
    """Return whether the loader refuses ``value``; what is missing beside it does not count."""
    root = tree({setting.name: value}, "")
    try:
        READER.hook_of(setting.owner)(root)
    except Invalid as invalid:
        missing = f'"{setting.name}" is missing'
        return any(
            each.code != "CFG-MISSING" or each.text == missing or each.text.startswith(setting.name)
            for each in invalid.findings
        )
    return False


class JsonSchemaTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.schema = json.loads(json.dumps(json_schema()))

    def valid(self, text: str) -> bool:
        # A day is a text to JSON.
        return Draft7Validator(self.schema).is_valid(
            json.loads(json.dumps(yaml.safe_load(text), default=str))
        )

    def test_every_setting(self) -> None:
        """The example, its commented part with every setting too, is valid."""
        self.assertTrue(self.valid(example()))
        self.assertTrue(self.valid(uncommented(example())))

    def test_it_is_a_schema(self) -> None:
        """It keeps the rules for schemas of its draft."""
        Draft7Validator.check_schema(self.schema)

    def test_documents(self) -> None:
        """Every example in the documents is valid, but that of a provider from another package."""
        found = [block for page in PAGES for block in blocks(page, "yaml")]
        self.assertGreater(len(found), 5)
        self.assertEqual([block for block in found if not self.valid(block) and "postbox" not in block], [])

    def test_mistakes(self) -> None:
        """Unknown and missing keys, words that are no choice and wrong shapes are not."""
        self.assertTrue(self.valid(SMALL))
        for wrong in (
            SMALL + "hostnme: x\n",
            SMALL + "control: x\n",
            SMALL.replace("path: captured", "paht: captured"),
            SMALL.replace(", path: captured", ""),
            SMALL.replace("type: capture", "type: captur"),
            SMALL.replace("{path: spool}", "[spool]"),
            SMALL + "workers: some\n",
            SMALL + "logging: {level: loud}\n",
        ):
            self.assertFalse(self.valid(wrong), wrong)

    def test_what_the_environment_decides(self) -> None:
        """A reference may stand where a number, a flag or a choice is expected; null is the default."""
        for more in ("workers: ${N}\n", "workers: null\n", 'logging: {level: "${LEVEL:-info}"}\n'):
            self.assertTrue(self.valid(SMALL + more), more)

    def test_without_sense(self) -> None:
        """What ``config check`` refuses whatever else there is, an editor refuses, too."""
        for wrong in (
            "workers: 0",
            "workers: two",
            "spool: {lease: 30}",
            "spool: {limit: {bytes: 5}}",
            "spool: {limit: {free: 2}}",
            "routes: [{via: [local], expire: 5}]",
            "routes: [{via: [local], retry: {factor: 0}}]",
            "http: [{endpoint: 8080, serve: [health]}]",
            "webhook: {url: {file: x, env: Y}}",
            "webhook: {url: {expires: 2027-01-31}}",
            "webhook: {url: x, proxy: 5}",
            "privacy: {subjects: maybe}",
        ):
            self.assertFalse(self.valid(f"{SMALL.replace('spool: {path: spool}', '')}{wrong}\n"), wrong)
            self.assertTrue(problems_of(f"{SMALL.replace('spool: {path: spool}', '')}{wrong}\n"), wrong)

    def expect_no_stricter(self, value: object) -> None:
        for setting, schema in EVERY:
            if not schema.is_valid(value):
                self.assertTrue(refused(setting, value), f"{setting.key}: {value!r}")

    def test_stricter_nowhere(self) -> None:
        """What an editor refuses, the loader refuses: of every setting, whatever its value."""
        for word in WORDS:
            for value in (word, [word]):
                self.expect_no_stricter(value)
        for value in (
            None,
            True,
            0,
            1,
            5000,
            1.5,
            [],
            {},
            [None],
            [1],
            {"file": 1},
            {"file": "x", "env": "y"},
        ):
            self.expect_no_stricter(value)

    @settings(max_examples=25, deadline=None)
    @given(VALUES)
    def test_stricter_for_no_value(self, value: object) -> None:
        """The same for values that nobody thought of."""
        self.expect_no_stricter(value)

    def test_described(self) -> None:
        """Help, type and default of a setting are in it."""
        lease = self.schema["properties"]["spool"]["anyOf"][0]["anyOf"][0]["properties"]["lease"]
        self.assertEqual(lease["default"], "1m")
        self.assertIn("stopped responding", lease["description"])
