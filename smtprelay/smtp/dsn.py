"""
The DSN parameters of MAIL and RCPT (RFC 3461), read strictly.

The values are put into the fields of reports, so nothing is accepted that is not printable when decoded, or
that has two meanings. Pure.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

#: RFC 3461 §4: printable ASCII, of which ``+`` and ``=`` are encoded, and whatever else may be.
_XTEXT: Final = r"(?:[!-*,-<>-~]|\+(?:[2-6][0-9A-F]|7[0-9A-E]))+"
_ENVID: Final = re.compile(_XTEXT)
_ORCPT: Final = re.compile(rf"[A-Za-z0-9-]+;{_XTEXT}")

#: RFC 3461 §4.4 and §4.2, as they come over the wire.
LONGEST_ENVID: Final = 100
LONGEST_ORCPT: Final = 500

_RETURNS: Final = frozenset({"FULL", "HDRS"})
_OCCASIONS: Final = frozenset({"SUCCESS", "FAILURE", "DELAY"})


def _is_ret(value: str) -> bool:
    return value.upper() in _RETURNS


def _is_envid(value: str) -> bool:
    return len(value) <= LONGEST_ENVID and _ENVID.fullmatch(value) is not None


def _is_notify(value: str) -> bool:
    """Tell whether it is ``NEVER``, or some of the occasions, each at most once (RFC 3461 §4.1)."""
    words = value.upper().split(",")
    return words == ["NEVER"] or (_OCCASIONS.issuperset(words) and len(set(words)) == len(words))


def _is_orcpt(value: str) -> bool:
    return len(value) <= LONGEST_ORCPT and _ORCPT.fullmatch(value) is not None


#: The parameters of MAIL and of RCPT; each tells whether its value is good.
MAIL: Final[Mapping[str, Callable[[str], bool]]] = {"RET": _is_ret, "ENVID": _is_envid}
RCPT: Final[Mapping[str, Callable[[str], bool]]] = {"NOTIFY": _is_notify, "ORCPT": _is_orcpt}
