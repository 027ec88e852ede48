"""
What a check says of a setting: an error or a warning, and at which setting.
"""

from collections.abc import Iterable
from difflib import get_close_matches

from attrs import frozen

#: The path of a setting from the root of the configuration: keys and positions.
Path = tuple[str | int, ...]


@frozen
class Complaint:
    """
    An error or warning.

    :ivar text: one sentence for people.
    :ivar code: stable, for programs (``"CFG-VALUE"``).
    :ivar severity: ``"error"`` or ``"warning"``.
    """

    path: Path
    text: str
    code: str
    severity: str = "error"


def loopback_only(path: Path) -> Complaint:
    """Return the error that the URL at ``path`` is read on its way to another machine."""
    return Complaint(path, "http:// is for loopback only: use https://", "CFG-CLEAR-TEXT")


def below(where: str, key: str | int) -> str:
    """Return the name, for people, of ``key`` within ``where``."""
    if isinstance(key, int):
        return f"{where}[{key}]"
    return f"{where}.{key}" if where else key


def spelled(path: Path) -> str:
    """Return ``path`` for people: ``listeners[0].endpoint``."""
    where = ""
    for key in path:
        where = below(where, key)
    return where


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``' - did you mean "x"?'`` for the one of ``known`` that is close to ``word``, or ``""``."""
    by_fold = {name.casefold(): name for name in known}
    close = get_close_matches(word.casefold(), by_fold, n=1)
    return f' - did you mean "{by_fold[close[0]]}"?' if close else ""
