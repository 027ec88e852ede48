"""
The configuration as the log shows it at a start: complete, and without a secret.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, get_args

from attrs import fields, has

from smtprelay.config.model import Config
from smtprelay.config.reference import given, key_of, kind_of, spelled
from smtprelay.config.secret import Secret

#: Settings whose value is not to be seen although it is no :class:`Secret`.
_HIDDEN: Final = frozenset({"hash", "password_hash"})


def effective(config: Config) -> dict[str, Any]:
    """
    Return ``config`` as what JSON can hold, by the keys of the file and with its units.

    A secret is only the place where it is: ``‹file /run/secrets/x›``.
    """
    return _table(config)


def _table(value: Any) -> dict[str, Any]:
    shown = {}
    for attribute in fields(type(value)):
        key, item = key_of(attribute), getattr(value, attribute.name)
        kind = kind_of(type(value), attribute)
        shown[key] = "‹hidden›" if key in _HIDDEN and item else _plain(item, kind)
    return shown


def _plain(value: Any, kind: Any) -> Any:
    value, kind = spelled(kind, value), given(kind)
    if isinstance(value, Secret):
        return f"‹{value.place}›"
    if has(type(value)):
        return _table(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, get_args(kind)[1]) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item, get_args(kind)[0]) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    # A URL may hold a login: https://user:password@host.
    return re.sub(r"//[^/@\s]*@", "//‹hidden›@", str(value))
