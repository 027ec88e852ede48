"""
Commands that had another name. The old one is an error of usage that names the new one; no help shows it.
"""

from collections.abc import Mapping
from typing import Final

#: What was typed behind ``smtprelay``, and what is typed now.
RENAMED: Final[Mapping[str, str]] = {
    "check-config": "config check",
    "queue redirect": "queue reroute",
    "queue check": "spool check",
    "queue compact": "spool compact",
    "queue hold --for": "hold-rules add",
    "queue holds": "hold-rules list",
    "queue unhold": "hold-rules remove",
    "queue cat": "queue show --raw",
    "providers retry": "providers probe",
}


def renamed(path: str, word: str) -> str:
    """Return the sentence about ``word`` behind ``path`` (``smtprelay queue``); ``""``: it is no old name."""
    old = f"{path} {word}".partition(" ")[2]
    new = RENAMED.get(old)
    return f'"{old}" is now called "{new}"' if new else ""
