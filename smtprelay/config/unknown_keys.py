"""
Keys that no settings class has: misspelt, renamed, or broken off from a secret. Pure.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from smtprelay.config.problem import Finding
from smtprelay.config.tree import Mark, Scalar, Table
from smtprelay.settings.complaint import below, did_you_mean
from smtprelay.settings.secret import is_secret

#: The keys to an old name, and the new name of its last key; ``*`` is every entry of a map or list.
RENAMED: Final[Mapping[str, str]] = {
    "control": "control_socket",
    "listeners.*.line_ends": "bare_newlines",
    "listeners.*.auth.without_tls": "allow_plaintext",
    "providers.*.pace": "rate",
    "spool.keep": "retention",
    "spool.limit.messages": "deliveries",
}

_PATTERNS: Final = tuple(
    (re.compile(re.escape(old).replace(r"\*", ".+")), new) for old, new in RENAMED.items()
)

#: The finding of a file that is no configuration.
NO_SETTINGS: Final = 'expected settings such as "listeners:", each in a line'


#: The number of unknown keys of a section for which it is looked for what was meant.
_HINTED: Final = 100


def renamed(where: str, key: str) -> str:
    """Return the new name of ``key`` within ``where`` (``listeners[0].auth``), or ``""`` if it has none."""
    path = re.sub(r"\[(\d+)\]", r".\1", below(where, key))
    return next((new for pattern, new in _PATTERNS if pattern.fullmatch(path)), "")


def unknown_keys(
    node: Table, known: Iterable[str], homes: Callable[[str], str] = lambda _key: ""
) -> list[Finding]:
    """
    Return a finding for each key of ``node`` that is not ``known``; for an old name it has the new one.

    :param homes: returns a hint where a key belongs, or ``""``.
    """
    names = list(known)
    broken_off = _broken_off(node, names)
    unknown = [key for key in node if key not in names]
    # To find what was meant takes its time: whoever has so many has another file in mind.
    hinted = {key: did_you_mean(key, names) or homes(key) for key in unknown[:_HINTED]}
    return [broken_off.get(key) or _unknown(key, node, hinted.get(key, "")) for key in unknown]


def _broken_off(node: Table, known: Iterable[str]) -> dict[str, Finding]:
    """Return findings for the parts of a secret without quotes that contains commas; they are not shown."""
    found: dict[str, Finding] = {}
    owner, first = "", True
    for key, value in node.items():
        rest = key not in known and isinstance(value, Scalar) and value.null
        if rest and is_secret(owner):
            what = "hash" if "hash" in owner else "value"
            text = f'{below(node.where, owner)}: put the {what} in quotes: a comma ends it within "{{…}}"'
            found[key] = Finding(node.key_marks[key], text, "CFG-SYNTAX", value, follows=not first)
        owner, first = (owner, False) if rest else (key, True)
    return found


def _unknown(key: str, node: Table, hint: str) -> Finding:
    new = renamed(node.where, key)
    text = f'the key "{key}" is now called "{new}"' if new else f'unknown key "{key}"{hint}'
    meant = new or "".join(re.findall(r'did you mean "(\w+)"', hint))
    if not (node.where or new) and _is_alone(node.key_marks[key], node):
        text = f"unknown key{hint}" if hint else NO_SETTINGS
    code = "CFG-RENAMED-KEY" if new else "CFG-UNKNOWN-KEY"
    return Finding(node.key_marks[key], text, code, node[key], meant=below(node.where, meant))


def _is_alone(mark: Mark, node: Table) -> bool:
    """Return whether the file has one key only: then it may be a file with a secret."""
    return mark.line > 0 and [other.file for other in node.key_marks.values()].count(mark.file) == 1
