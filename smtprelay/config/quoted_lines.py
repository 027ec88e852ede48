"""
Hides the secrets in a line of the configuration that an error quotes. Pure.

The line may not be valid YAML, so secrets are found by the names of keys. From the first secret on, each
character is replaced by a dot, so that a caret below the line keeps its place. Paths, endpoints and networks
are shown.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from attrs import fields

from smtprelay.config.listeners import UserSettings
from smtprelay.config.model import TokenSettings
from smtprelay.settings.secret import SECRET_WORDS, is_secret

#: The most characters of a line that are shown.
LONGEST: Final = 300

#: The most lines above that are searched for the key that a line belongs to.
_FAR: Final = 100

#: Keys of users, tokens and secrets. Any other key there may be a user name in front of a password.
_WITHIN: Final = (
    *(each.name for cls in (UserSettings, TokenSettings) for each in fields(cls)),
    *("file", "env", "credential", "expires"),
)

_KEY: Final = re.compile(r"""(?P<key>[\w-]+)["']?\s*:(?=\s|["'\[]|[^\s:/]*$|[^\s:/]{8})\s*""")

#: A key without its colon, at the beginning of a line.
_BROKEN_OFF: Final = re.compile(r"""\s*(?:-\s+)?[{\["']*(?P<key>[\w-]+)["']?[\s=;,]+(?=[^\s:=])""")

#: What is shown behind such a key: nothing, the place of the secret, or a map, which has its own keys.
_PLACE: Final = r"""["']?(?:(?:~|\.{0,2})/[\w./~-]+|[\w.-]+\.(?:pem|key|crt|cer|txt))["']?|\$\{\w+\}"""
_SEEN: Final = re.compile(rf"(?:{_PLACE})?\s*(?:[,}}\]]|$)|\[?\s*\{{")

#: The host of a URL is shown if no login precedes it.
_HOST: Final = re.compile(r"""["']?[a-z][\w+.-]*://(?:[^\s/?#"'@]*(?![^\s/?#"']))?""", re.IGNORECASE)
#: That of a proxy may have no scheme.
_LOGIN: Final = re.compile(
    r"""(?:(?<=://)|(?<=proxy: )|(?<=proxy: ["']))(?:[^\s/@"']*:[^\s"']*|[^\s/@"']+)(?=@)"""
)
_WORD: Final = re.compile(r"\w{4,}")


def masked(lines: Sequence[str], number: int) -> str:
    """Return the first :data:`LONGEST` characters of line ``number``, from 0, with their secrets hidden."""
    line = lines[number][:LONGEST]
    keys = list(_KEY.finditer(line))
    holders = [_owner(lines, number, far="")[0], *(key["key"] for key in keys)]
    for place, key in enumerate(keys[1:], start=1):
        if line[keys[place - 1].end() : key.start()].strip("[{\"' "):
            holders[place] = ""
    secrets = [
        key
        for holder, key in zip(holders, keys, strict=False)
        if (is_secret(key["key"]) or _is_name(key["key"], holder)) and not _SEEN.match(line, key.end())
    ]
    start = len(line)
    if secrets:
        host = _HOST.match(line, secrets[0].end()) if secrets[0]["key"] == "url" else None
        start = (host or secrets[0]).end()
    elif not keys and _is_within_secret(lines, number):
        start -= len(re.sub(r"^\s*(?:-\s+)?", "", line))
    broken_off = _BROKEN_OFF.match(line)
    if broken_off and is_secret(broken_off["key"]):
        start = min(start, broken_off.end())
    line = line[:start] + "•" * (len(line) - start)
    return without_logins(line)


def without_logins(text: str) -> str:
    """Return ``text`` with the logins in its URLs hidden."""
    return _LOGIN.sub(lambda login: "•" * len(login[0]), text)


def without_secret(text: str, lines: Sequence[str], number: int, column: int) -> str:
    """Return the sentence about a place, counted from 0, without the secret that stands there."""
    if not 0 <= number < len(lines) or masked(lines, number)[column : column + 1] != "•":
        return without_logins(text)
    keys = [key["key"] for key in _KEY.finditer(lines[number][:LONGEST]) if key.end() <= column + 1]
    if not (is_secret(keys[-1]) if keys else _is_within_secret(lines, number)):
        return without_logins(text)
    value = re.split(r"[,}\]]", lines[number][column:LONGEST], maxsplit=1)[0]
    return re.sub("|".join(map(re.escape, _WORD.findall(value))) or "(?!)", "•••", text)


def _is_within_secret(lines: Sequence[str], number: int) -> bool:
    """Return whether a line without a key belongs to the key of a secret or to a user name."""
    owner, place = _owner(lines, number)
    return is_secret(owner) or owner == "users" or _is_name(owner, _owner(lines, place, far="")[0])


def _is_name(key: str, holder: str) -> bool:
    """Return whether ``key``, below ``holder``, is a user name in front of a password."""
    within = holder == "users" or is_secret(holder)
    return within and not get_close_matches(key.lower(), _WITHIN, cutoff=0.8)


def _owner(lines: Sequence[str], number: int, far: str = SECRET_WORDS[0]) -> tuple[str, int]:
    """Return the key that a line belongs to, and its line; ``""`` for none, ``far`` if it is too far up."""
    depth, item = _depth(lines[number]), _is_item(lines[number])
    for place in range(number - 1, max(-1, number - _FAR), -1):
        line = lines[place][:LONGEST]
        keys = () if line.lstrip().startswith("#") else list(_KEY.finditer(line))
        if keys and _depth(line) < depth + (item and not _is_item(line)):
            return keys[-1]["key"], place
    return (far if number >= _FAR else ""), number


def _is_item(line: str) -> bool:
    return line.lstrip().startswith("- ")


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())
