"""What the settings have that this version does not: no document shows it."""

import re
from typing import Any, get_args

from attrs import fields_dict

from smtprelay.config.checks.unavailable import ROWS

#: Whole settings, by their keys.
SETTINGS = {re.sub(r"=\w+|\.\*$", "", row.setting) for row in ROWS if row.word is None and row.idle is None}

_TYPES = {row.word for row in ROWS if row.setting.endswith(".type")}

#: The values of what has only one that works.
SECTIONS = {"privacy", "privacy.subjects", "privacy.addresses"}


def is_coming(kind: Any) -> bool:
    """Return whether a settings class is that of a type that is still to come."""
    return "type" in fields_dict(kind) and bool(_TYPES & set(get_args(fields_dict(kind)["type"].type)))
