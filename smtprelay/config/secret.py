"""
Secrets that live outside of the configuration and may be renewed while the relay runs.

A secret is kept as the place where it is, and only :meth:`Secret.reveal` gives its
value; so whatever prints a configuration cannot print a password.
"""

import os
import pwd
import re
import stat
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Final

from attrs import field, frozen

_MAXIMUM_BYTES: Final = 1 << 16


@frozen
class Secret:
    """
    A password, a key, a token.

    :ivar place: where it comes from, for people: ``file /run/secrets/acs``, ``env P``,
        ``credential acs`` or ``inline``.
    :ivar expires: the day on which it stops working, if that is known.
    """

    place: str
    expires: date | None = field(default=None, kw_only=True)
    _read: Callable[[], str] = field(kw_only=True, repr=False, eq=False)

    def reveal(self) -> str:
        """
        Return the value; one newline at the end of a file does not belong to it.

        A file is looked at each time (one ``stat``) and read again when it changed. If it
        cannot be read any more the value before holds, until the provider says otherwise.
        Raises ``ValueError``, with a sentence for people, if there never was one.
        """
        return self._read()


def in_file(path: str, place: str, expires: date | None = None) -> Secret:
    """Return the secret that the file at ``path`` holds; nothing is read yet."""
    return Secret(place, expires=expires, read=_File(Path(path)).text)


def fixed(value: str, place: str, expires: date | None = None) -> Secret:
    """Return a secret that does not change."""
    return Secret(place, expires=expires, read=lambda: value)


def missing(place: str, why: str, expires: date | None = None) -> Secret:
    """Return a secret whose :meth:`Secret.reveal` only says ``why`` there is none."""

    def read() -> str:
        raise ValueError(why)

    return Secret(place, expires=expires, read=read)


def complaint(path: Path, error: OSError) -> str:
    """Say why ``path`` cannot be used, with what an operator needs to correct it."""
    reason = (error.strerror or str(error)).lower()
    try:
        status = path.stat()
    except OSError:
        return f"{path}: {reason} (uid {os.getuid()})"
    mode = f"{stat.S_IMODE(status.st_mode):04o}"
    return f"{path}: {reason} (uid {os.getuid()}, mode {mode} {_user(status.st_uid)})"


class _File:
    """The text of a small file, as new as the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._text = ""

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
            text = re.sub(r"\r?\n\Z", "", content.decode())
        except UnicodeDecodeError:
            raise ValueError("not UTF-8") from None
        if not text:
            raise ValueError("empty")
        return text


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
