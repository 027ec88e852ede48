import json
import re
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import example, json_schema
from smtprelay.config.example import reference
from tests.config.loading import SMALL

#: The types of JSON, as Python has them.
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Return whether ``value`` is valid, by the words of JSON Schema that ours uses."""
    if "anyOf" in schema and not any(fits(value, one) for one in schema["anyOf"]):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    if kinds and not any(of_type(value, kind) for kind in kinds):
        return False
    if isinstance(value, dict) and kinds == ["object"]:
        more = schema.get("additionalProperties", True)
        rest = {key: part for key, part in value.items() if key not in schema.get("properties", {})}
        known = [fits(part, schema["properties"][key]) for key, part in value.items() if key not in rest]
        others = [more if isinstance(more, bool) else fits(part, more) for part in rest.values()]
        return all([*known, *others, *(key in value for key in schema.get("required", ()))])
    if isinstance(value, list) and "items" in schema:
        return all(fits(part, schema["items"]) for part in value)
    return "pattern" not in schema or bool(re.search(schema["pattern"], value))


def of_type(value: Any, kind: str) -> bool:
    """Return whether ``value`` is of one of JSON's types."""
    if kind == "null" or isinstance(value, bool):
        return value is None if kind == "null" else kind == "boolean"
    return isinstance(value, TYPES[kind])


class JsonSchemaTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.schema = json.loads(json.dumps(json_schema()))

    def valid(self, text: str) -> bool:
        # A day is a text to JSON.
        return fits(json.loads(json.dumps(yaml.safe_load(text), default=str)), self.schema)

    def test_every_setting(self) -> None:
        """The example, its commented part with every setting too, is valid."""
        self.assertTrue(self.valid(example()))
        self.assertTrue(self.valid(reference()))

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
