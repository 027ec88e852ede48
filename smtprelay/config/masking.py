"""
Hides the secrets of a line that is quoted in an error, and nothing else of it. Pure.

The line may be no YAML at all, so this goes by the names of keys. Each character that is hidden leaves a dot
in its place: a caret below the line stays where it was. Paths, endpoints and networks are not hidden.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

#: Of a longer line no more is shown.
LONGEST: Final = 300

#: So many lines above are looked through for the key that a line belongs to.
_FAR: Final = 100

#: Keys whose value is a secret; one that is misspelt is one too.
_SECRETS: Final = [
    "password",
    "password_hash",
    "passphrase",
    "secret",
    "client_secret",
    "secret_id",
    "token",
    "tokens",
    "hash",
    "key",
    "access_key",
    "access_keys",
    "api_key",
    "seal_key",
    "account_key",
    "connection_string",
    "sas",
]

_KEY: Final = re.compile(r"""(?P<key>[\w-]+)["']?\s*:(?=\s|["'\[]|[^\s:/]*$|[^\s:/]{8})\s*""")

#: A value goes up to the end of the line; within a list or map up to the comma behind it, or the bracket.
_QUOTED: Final = r""""(?:\\.|[^"\\])*"?|'(?:''|[^'])*'?|\[(?!\s*[{"\[])[^\]]*"""
_VALUE: Final = re.compile(r"[^\s].*")
_VALUE_IN_FLOW: Final = re.compile(rf"(?:{_QUOTED})?[^,\]}}]*")

#: What a key of TLS or DKIM is named by, and what is looked up elsewhere.
_PLACE: Final = re.compile(
    r"""["']?(?:(?:~|\.{0,2})/[\w./~-]+|[\w.-]+\.(?:pem|key|crt|cer|txt))["']?\s*|\$\{\w+\}\s*"""
)

#: Of a URL the host may be seen.
_URL: Final = re.compile(r"""(["']?[a-z][\w+.-]*://)([^\s@/]*@)?([^\s/?#"'@]*)([^\s"']*)""", re.IGNORECASE)
_USERINFO: Final = re.compile(r"(?<=://)[^\s/@]+(?=@)")


def masked(lines: Sequence[str], number: int) -> str:
    """Return the first :data:`LONGEST` characters of line ``number``, from 0, with their secrets hidden."""
    line = lines[number][:LONGEST]
    keys = list(_KEY.finditer(line))
    if not keys and _is_secret(_owner(lines, number)):
        return re.sub(r"(?<!\S)(?!-\s)\S.*", _dots, line, count=1)
    shown, at = "", 0
    for key in keys:
        if key.start() >= at:
            end = _end_of_value(line, key)
            shown += line[at : key.end()] + _value(key["key"], line[key.end() : end])
            at = end
    return _USERINFO.sub(_dots, shown + line[at:])


def _end_of_value(line: str, key: re.Match[str]) -> int:
    """Return where the value of ``key`` ends, or where it begins if there are keys within it."""
    before = line[: key.start()]
    value = (_VALUE_IN_FLOW if re.search(r"[\[{]", before) else _VALUE).match(line, key.end())
    if value is None or re.match(r"\{|\[.*\{", value[0]):
        return key.end()
    return value.end()


def _value(key: str, value: str) -> str:
    if key in {"url", "proxy"}:
        return _url(value, whole=key == "url")
    if not _is_secret(key) or _PLACE.fullmatch(value):
        return value
    return _dots_for(value)


def _url(value: str, *, whole: bool) -> str:
    url = _URL.match(value)
    if url is None:
        return _dots_for(value)
    rest = value[url.end() :]
    path = _dots_for(url[4]) if whole else url[4]
    return f"{url[1]}{_dots_for(url[2] or '')}{url[3]}{path}{rest}"


def _is_secret(key: str) -> bool:
    return bool(get_close_matches(key.lower().replace("-", "_"), _SECRETS, n=1, cutoff=0.87))


def _owner(lines: Sequence[str], number: int) -> str:
    """Return the key that a line without one belongs to; ``""`` for none, a secret's if it is too far."""
    depth, item = _depth(lines[number]), lines[number].lstrip().startswith("- ")
    above = range(number - 1, max(-1, number - _FAR), -1)
    for line in (lines[each][:LONGEST] for each in above):
        keys = list(_KEY.finditer(line))
        if keys and _depth(line) < depth + item:
            return keys[-1]["key"]
    return _SECRETS[0] if number >= _FAR else ""


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def _dots(match: re.Match[str]) -> str:
    return _dots_for(match[0])


def _dots_for(text: str) -> str:
    return "•" * len(text)
