import json

import yaml
from jsonschema import Draft7Validator
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import example, json_schema
from tests.config.loading import SMALL, uncommented
from tests.test_readme import PAGES, blocks


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

    def test_described(self) -> None:
        """Help, type and default of a setting are in it."""
        lease = self.schema["properties"]["spool"]["anyOf"][0]["anyOf"][0]["properties"]["lease"]
        self.assertEqual(lease["default"], "1m")
        self.assertIn("stopped responding", lease["description"])
