"""
Secrets outside the configuration, which may be renewed while the relay runs.

The configuration has only the place of a secret; :meth:`Secret.reveal` returns its value. So whatever prints
a configuration cannot print a password.
"""

import os
import pwd
import re
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from smtprelay.settings.values import unfit

_MAXIMUM_BYTES: Final = 1 << 16


#: A line of ``spool.seal_key``.
_SEAL_KEY: Final = re.compile(r"[\w-]{1,40}:[A-Za-z0-9+/]{43}=")

#: A key with one of these words, also misspelt, has a secret.
SECRET_WORDS: Final = (
    *("password", "passphrase", "secret", "token", "hash", "key", "keys", "sas", "url"),
    *("connection_string", "secret_id", "jwt", "passwd", "pass", "pwd", "apikey", "accesskey", "secretkey"),
)


@frozen
class Secret:
    """
    A password, a key, a token.

    :ivar place: where it is, for people: ``file /run/secrets/acs``, ``env P``, ``credential acs``,
        ``key_vault https://…`` or ``inline``.
    :ivar expires: the day on which it stops working, if known.
    :ivar remote: what reads it from a service, if it is in one.
    """

    place: str
    expires: date | None = field(default=None, kw_only=True)
    remote: "RemoteSecret | None" = field(default=None, kw_only=True, repr=False, eq=False)
    _read: Callable[[], str] = field(kw_only=True, repr=False, eq=False)
    _warn: Callable[[], Sequence[str]] = field(default=tuple, kw_only=True, repr=False, eq=False)

    def reveal(self) -> str:
        """
        Return the value, as :func:`cleaned` returns it.

        A file is checked each time (one ``stat``) and read again when it changed. If it cannot be read any
        more, the last value is returned. Raises ``ValueError``, with a sentence for people, if there never
        was a value.
        """
        return self._read()

    @property
    def ends(self) -> float | None:
        """When the day :attr:`expires` is over (UTC), seconds since the epoch."""
        return None if self.expires is None else datetime.combine(self.expires, time.max, UTC).timestamp()

    def text(self) -> str:
        """Return the value without blanks around it, ``""`` if there is none."""
        try:
            return self.reveal().strip()
        except ValueError:
            return ""

    def warnings(self) -> Sequence[str]:
        """Return warnings about the place of the secret, each as a sentence."""
        return self._warn()


@lru_cache(maxsize=1024)
def is_secret(key: str) -> bool:
    """Return whether a key of this name has a secret."""
    whole = re.sub("(?<=[a-z])(?=[A-Z])", "_", key).lower().replace("-", "_")
    words = (*whole.split("_"), whole)
    return any(get_close_matches(word, SECRET_WORDS, cutoff=0.87) for word in words)


def in_file(path: str, place: str, expires: date | None = None) -> Secret:
    """Return the secret in the file at ``path``; nothing is read yet."""
    file = _File(Path(path))
    return Secret(place, expires=expires, read=file.text, warn=file.warnings)


@define(eq=False)
class RemoteSecret:
    """
    A secret that a service has, which a running relay asks ahead.

    :ivar latest: returns what was read last; ``None``: nothing yet.
    """

    url: str
    latest: Callable[[], str | None] = lambda: None

    def text(self) -> str:
        """Return the value; raises ``ValueError`` while there is none."""
        found = self.latest()
        if found is None:
            raise ValueError(f"key_vault {self.url}: only a running relay reads it")
        text, _ = cleaned(found)
        if why := flaw(text):
            raise ValueError(f"key_vault {self.url}: {why}")
        return text


def in_service(url: str, place: str, expires: date | None = None) -> Secret:
    """Return the secret that is read from ``url``; nothing is asked here."""
    remote = RemoteSecret(url)
    return Secret(place, expires=expires, remote=remote, read=remote.text)


def fixed(value: str, place: str, expires: date | None = None) -> Secret:
    """Return a secret that does not change."""
    return Secret(place, expires=expires, read=lambda: value)


def in_variable(value: str, place: str, expires: date | None = None) -> Secret:
    """Return the secret in a variable; Docker leaves the quotes of an env file in the value."""
    text, removed = cleaned(value)
    if why := flaw(text):
        return missing(place, f"{place}: {why}", expires)
    warnings = [f"{place}: {removed} removed"] if removed else []
    return Secret(place, expires=expires, read=lambda: text, warn=lambda: warnings)


def cleaned(text: str) -> tuple[str, str]:
    """
    Return a secret without what editors and shells add to it, and what was removed, in words.

    That is a byte order mark, quotes around it and newlines at its end; one newline is usual and not
    reported.
    """
    removed = []
    if text.startswith("\ufeff"):
        removed.append("the byte order mark")
    value = text.removeprefix("\ufeff").rstrip("\r\n")
    if text.endswith(("\r\n", "\n\n")):
        removed.append("newlines")
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'" and value[0] not in value[1:-1]:  # noqa: PLR2004
        value = value[1:-1]
        removed.append("the quotes")
    return value, " and ".join(removed)


def flaw(text: str) -> str:
    """Return why a cleaned ``text`` is not a secret, or ``""``; keys may have several lines."""
    lines = text.splitlines()
    if not text.strip():
        return "it has only blanks" if text else "it is empty"
    is_keys = text.startswith("-----BEGIN ") or all(map(_SEAL_KEY.fullmatch, lines))
    if len(lines) > 1 and not is_keys:
        return f"it has {len(lines)} lines, a secret has one"
    return "it has a control character" if any(map(unfit, lines)) else ""


def missing(place: str, why: str, expires: date | None = None) -> Secret:
    """Return a secret whose :meth:`Secret.reveal` only says ``why`` there is none."""

    def read() -> str:
        raise ValueError(why)

    return Secret(place, expires=expires, read=read)


def complaint(path: Path, error: OSError) -> str:
    """Return why ``path`` cannot be used, with its mode and owner."""
    reason = (error.strerror or str(error)).lower()
    try:
        status = path.stat()
    except OSError:
        return f"{path}: {reason} (uid {os.getuid()})"
    mode = f"{stat.S_IMODE(status.st_mode):04o}"
    return f"{path}: {reason} (uid {os.getuid()}, mode {mode} {_user(status.st_uid)})"


class _File:
    """The text of a small file, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._text = ""
        self._removed = ""

    def text(self) -> str:
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen != self._seen:
                self._text = self._load(status.st_mode)
                self._seen = seen
        except OSError as error:
            if self._seen is None:
                raise ValueError(f"file {complaint(self._path, error)}") from error
        except ValueError as error:
            if self._seen is None:
                raise ValueError(f"file {self._path}: {error}") from None
        return self._text

    def _load(self, mode: int) -> str:
        if not stat.S_ISREG(mode):
            raise ValueError("not a regular file")
        with self._path.open("rb") as file:
            content = file.read(_MAXIMUM_BYTES + 1)
        if len(content) > _MAXIMUM_BYTES:
            raise ValueError(f"larger than {_MAXIMUM_BYTES} bytes")
        try:
            text, self._removed = cleaned(content.decode())
        except UnicodeDecodeError:
            wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
            raise ValueError("not UTF-8 but UTF-16: save it as UTF-8" if wide else "not UTF-8") from None
        if why := flaw(text):
            raise ValueError(why)
        return text

    def warnings(self) -> Sequence[str]:
        warnings = [f"file {self._path}: {self._removed} removed"] if self._removed else []
        with suppress(OSError):
            if self._is_open():
                warnings.append(f"file {self._path}: every user of this machine can read it: run chmod o-r")
        return warnings

    def _is_open(self) -> bool:
        """Return whether others can read the file and its folders."""
        folders = self._path.absolute().parents
        return bool(self._path.stat().st_mode & stat.S_IROTH) and all(
            folder.stat().st_mode & stat.S_IXOTH for folder in folders
        )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
