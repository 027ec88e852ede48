"""
The names of attached files, made fit for any computer that they are saved on. Pure.
"""

import re
from typing import Final

#: Characters of a name, its extension among them.
MAX_NAME: Final = 200
_MAX_TITLE: Final = 100
_MAX_EXTENSION: Final = 20

#: Controls, and what turns the direction of a text: ``exe.pdf`` must not look like ``fdp.exe``.
_UNSEEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_SEPARATORS: Final = re.compile(r"[/\\]")
#: A path, on whatever computer: drive, share, root, home or a dot in front.
_PATH: Final = re.compile(r"[A-Za-z]:[/\\]|[/\\]|~[/\\]|\.{1,2}[/\\]|file:[/\\]")
_FORBIDDEN: Final = re.compile(r'[/\\:*?"<>|]')


def clean(name: str) -> str:
    """
    Return the file's name that ``name`` gives, ``""`` if it gives none.

    Of a path its last part is taken; a slash that is no path's becomes ``_``.
    """
    name = _UNSEEN.sub("", name).strip()
    name = _SEPARATORS.split(name)[-1] if _PATH.match(name) else _SEPARATORS.sub("_", name)
    return _shortened(name.strip(" ."), MAX_NAME)


def portable(name: str, longest: int) -> str:
    """Return a clean name as every file system takes it, with at most ``longest`` characters."""
    return _shortened(_FORBIDDEN.sub("_", name), longest)


def _shortened(name: str, longest: int) -> str:
    if len(name) <= longest:
        return name
    stem, dot, extension = name.rpartition(".")
    if dot and len(extension) <= _MAX_EXTENSION:
        return f"{stem[: longest - len(extension) - 1]}.{extension}"
    return name[:longest].strip(" .")


def from_title(title: str) -> str:
    """Return a name without an extension that ``title``, say a mail's subject, can give."""
    return _FORBIDDEN.sub("_", _UNSEEN.sub("", title)).strip(" .")[:_MAX_TITLE]
