"""
Values of the environment inside a setting: ``${NAME}`` and its forms.

It works on words that the YAML parser has already separated, so what a variable
holds can never become a key, a list or a comment. Pure.
"""

import re
from collections.abc import Mapping
from typing import Final

_REFERENCE: Final = re.compile(r"\$\$|\$\{([^}]*)(\}?)")
_INSIDE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::([-?])(.*))?", re.DOTALL)


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """
    Return ``text`` with its references replaced.

    * ``${NAME}``: the variable's value; it must be set.
    * ``${NAME:-default}``: ``default`` if the variable is not set or empty.
    * ``${NAME:?message}``: an error with ``message`` if it is not set or empty.
    * ``$$``: one ``$``. Any other ``$`` stays itself, so a hash (``$scrypt$…``) needs no care.

    Values and defaults are not looked through again. Raises ``ValueError`` with a
    sentence for people.
    """
    return _REFERENCE.sub(lambda match: _replace(match, environ), text)


def _replace(match: re.Match[str], environ: Mapping[str, str]) -> str:
    if match[0] == "$$":
        return "$"
    inside = _INSIDE.fullmatch(match[1])
    if not match[2] or not inside:
        raise ValueError(
            f'"{match[0]}" is not a reference to a variable; write ${{NAME}}, or $${{ for a plain ${{'
        )
    name, form, rest = inside.groups()
    value = environ.get(name)
    if form is None:
        if value is None:
            raise ValueError(f"the variable {name} is not set; ${{{name}:-default}} would give it a default")
        return value
    if value:
        return value
    if form == "?":
        raise ValueError(f"the variable {name} is not set: {rest or 'it is required'}")
    return str(rest)
