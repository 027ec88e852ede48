"""
The configuration as it is used, with the keys and units of the file, and where each value comes from.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from attrs import has

from smtprelay.config.load import Loaded
from smtprelay.config.setting import given, settings_in, spelled
from smtprelay.config.setting_defaults import variables_of
from smtprelay.config.tree import Scalar, TreeNode, child
from smtprelay.settings.complaint import Path, below
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


def sources(loaded: Loaded, environ: Mapping[str, str], place: Path = ()) -> Iterator[tuple[str, Any, str]]:
    """
    Give the name of each value at ``place`` in the configuration, the value, and its source.

    That is a line of the file, a variable, an option, or ``default``. It gives nothing for a place that the
    configuration does not have.
    """
    shown: Any = effective(loaded.config)
    node: TreeNode | None = loaded.root
    where, variables = "", dict(variables_of(loaded.config, environ))
    for step in place:
        entries = dict(enumerate(shown)) if isinstance(shown, list) else shown
        if not isinstance(entries, dict) or step not in entries:
            return
        shown, node, where = entries[step], child(node, step), below(where, step)
    yield from _sources(shown, node, where, variables)


def _sources(
    shown: Any, node: TreeNode | None, where: str, variables: Mapping[str, str]
) -> Iterator[tuple[str, Any, str]]:
    if isinstance(shown, dict | list) and shown:
        for key, value in shown.items() if isinstance(shown, dict) else enumerate(shown):
            yield from _sources(value, child(node, key), below(where, key), variables)
    elif node is None or (isinstance(node, Scalar) and node.null):
        # A list has one source.
        yield where, shown, variables.get(re.sub(r"\[\d+\]$", "", where), "default")
    else:
        mark = node.mark
        yield where, shown, f"{mark.file}:{mark.line}" if mark.line else mark.file


def _shown(value: Any, kind: Any) -> Any:
    notation = notation_of(given(kind))
    if notation and notation.hidden and value is not None:
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
