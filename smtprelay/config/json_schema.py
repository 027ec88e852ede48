"""
The JSON Schema of the configuration, made from the settings classes.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args, get_origin

from attrs import has

from smtprelay.config.model import Config
from smtprelay.config.setting import Setting, classes_of, plain, settings_in, summary_of, type_of
from smtprelay.settings.secret import Secret
from smtprelay.settings.values import WORD, notation_of

#: A value from the environment: ``${NAME}``.
_REFERENCE: Final = {"type": "string", "pattern": r"\$\{"}


def json_schema() -> dict[str, Any]:
    """Return the schema, by draft 7, which every editor knows."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "The configuration of smtprelay",
        **_section(Config),
    }


def _section(cls: Any) -> dict[str, Any]:
    settings = settings_in(cls)
    return {
        "description": plain(summary_of(cls)),
        "type": "object",
        "properties": {each.name: json_schema_of(each) for each in settings},
        "required": [each.name for each in settings if each.required],
        "additionalProperties": False,
    }


def json_schema_of(setting: Setting) -> dict[str, Any]:
    """Return the schema of one setting."""
    labelled = {"Default": setting.default_words, "Example": setting.example}
    words = [setting.help, *(f"{label}: {text}" for label, text in labelled.items() if text)]
    schema = _type(setting.kind)
    if not setting.required:
        schema = {"anyOf": [schema, {"type": "null"}]}
    default = {} if setting.default is None else {"default": setting.default}
    return {"description": "\n".join(words), **default, **schema}


def _type(kind: Any) -> dict[str, Any]:
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Secret or notation_of(kind):
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
    # What may also be a secret has a notation for its words.
    given = [part for part in parts if part is not type(None)]
    return {"anyOf": [_SECRET if part is Secret and given[1:] else _type(part) for part in given]}


def _word(kind: Any) -> dict[str, Any]:
    notation = notation_of(kind)
    schema = {"anyOf": [WORD, _SECRET]} if notation is None else notation.json
    return {"description": type_of(kind), **schema}


_SECRET: Final = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("file", "env", "credential", "key_vault"), WORD),
        "expires": {"description": "the day on which it stops working", **WORD},
    },
    "oneOf": [{"required": [name]} for name in ("file", "env", "credential", "key_vault")],
    "additionalProperties": False,
}
