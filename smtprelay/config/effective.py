"""
The configuration as it is used, with the keys and units of the file, and where each value comes from.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from attrs import has

from smtprelay.config.setting import given, settings_in, spelled
from smtprelay.config.tree import Scalar, TreeNode, child
from smtprelay.settings.complaint import below
from smtprelay.settings.secret import Secret
from smtprelay.settings.values import notation_of


def effective(section: Any) -> dict[str, Any]:
    """
    Return the configuration, or a section of it, as JSON can hold it, with the keys and units of the file.

    Of a secret only its place is shown: ``‹file /run/secrets/x›``.
    """
    return {
        each.name: _shown(getattr(section, each.attribute.name), each.kind)
        for each in settings_in(type(section))
    }


def sources(shown: Any, given_as: TreeNode | None, where: str = "") -> Iterator[tuple[str, Any, str]]:
    """
    Give the name of each value in ``shown``, the value, and its source.

    That is a line of the file, a variable, an option, or ``default``.

    :param shown: from :func:`effective`.
    :param given_as: what it was made from.
    """
    if isinstance(shown, dict | list) and shown:
        for key, value in shown.items() if isinstance(shown, dict) else enumerate(shown):
            yield from sources(value, child(given_as, key), below(where, key))
    elif given_as is None or (isinstance(given_as, Scalar) and given_as.null):
        yield where, shown, "default"
    else:
        mark = given_as.mark
        yield where, shown, f"{mark.file}:{mark.line}" if mark.line else mark.file


def _shown(value: Any, kind: Any) -> Any:
    notation = notation_of(given(kind))
    if notation and notation.hidden:
        return "‹hidden›"
    if isinstance(value, Secret):
        return f"‹{value.place}›"
    if has(type(value)) and not notation:
        return effective(value)
    if isinstance(value, Mapping):
        return {str(key): _shown(item, get_args(kind)[1]) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_shown(item, get_args(kind)[0]) for item in value]
    # A URL may hold a login: https://user:password@host.
    word = spelled(kind, value)
    return re.sub(r"//[^/@\s]*@", "//‹hidden›@", word) if isinstance(word, str) else word
