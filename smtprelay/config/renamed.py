"""
Keys that had another name. The old one is an error that names the new one. Pure.
"""

import re
from collections.abc import Mapping
from typing import Final

from smtprelay.config.tree import below

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


def renamed(where: str, key: str) -> str:
    """Return the new name of ``key`` within ``where`` (``listeners[0].auth``), or ``""`` if it has none."""
    path = re.sub(r"\[(\d+)\]", r".\1", below(where, key))
    return next((new for pattern, new in _PATTERNS if pattern.fullmatch(path)), "")
