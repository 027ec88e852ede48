"""
The JSON Schema of the configuration, made from the settings classes.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args, get_origin

from attrs import NOTHING, fields, has

from smtprelay.config.model import Config
from smtprelay.config.reference import WORDS, classes_of, default_of, help_of, key_of, kind_of, summary_of
from smtprelay.settings import values
from smtprelay.settings.secret import Secret

#: The types that YAML has for these values.
_NUMBERS: Final = {values.Count: "integer", values.Port: "integer", values.Factor: "number"}

#: A value from the environment: ``${NAME}``.
_REFERENCE: Final = {"type": "string", "pattern": r"\$\{"}


def json_schema() -> dict[str, Any]:
    """Return the schema, by draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of smtprelay",
        **_section(Config),
    }


def _section(cls: Any) -> dict[str, Any]:
    properties, required = {}, []
    for attribute in fields(cls):
        default = default_of(cls, attribute)
        shown = {} if default is NOTHING or default is None else {"default": default}
        described = {"description": text} if (text := help_of(cls, attribute)) else {}
        schema = _type(kind_of(cls, attribute))
        if default is NOTHING:
            required.append(key_of(attribute))
        else:
            schema = {"anyOf": [schema, {"type": "null"}]}
        properties[key_of(attribute)] = {**described, **shown, **schema}
    found = {"description": summary_of(cls), "type": "object", "properties": properties}
    return {**found, "required": required, "additionalProperties": False}


def _type(kind: Any) -> dict[str, Any]:
    origin, parts = get_origin(kind), get_args(kind)
    if kind in WORDS:
        return _word(kind)
    if has(kind):
        sections = [_section(cls) for cls in classes_of(kind)]
        return sections[0] if len(sections) == 1 else {"anyOf": sections}
    if origin is Literal:
        # For an editor a word of digits is a number.
        numbers = (int(word) for word in parts if str(word).isdecimal())
        return {"anyOf": [{"enum": [*parts, *numbers]}, _REFERENCE]}
    if origin is tuple:
        return {"type": "array", "items": _type(parts[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _type(parts[1])}
    return {"anyOf": [_type(part) for part in parts if part is not type(None)]}


def _word(kind: Any) -> dict[str, Any]:
    described = {"description": WORDS[kind]}
    if kind is Secret:
        return {**described, "anyOf": [{"type": "string"}, _SECRET]}
    if kind == values.Flag:
        return {**described, "anyOf": [{"type": "boolean"}, _REFERENCE]}
    if kind in _NUMBERS:
        return {**described, "anyOf": [{"type": _NUMBERS[kind]}, _REFERENCE]}
    # For an editor 512 and 0.05 are numbers.
    return {**described, "type": ["string", "number"]}


_SECRET: Final = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in ("file", "env", "credential")},
        "expires": {"description": "the day on which it stops working", "type": "string"},
    },
    "minProperties": 1,
    "additionalProperties": False,
}
