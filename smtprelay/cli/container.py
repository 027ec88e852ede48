"""
What a container's relay was started with.

There the relay is process 1, or an init program that has the relay's command line in its own. So a health
check, and every command within the container, finds a relay that was started with ``-c`` or ``--set``.
"""

from collections.abc import Sequence
from pathlib import Path

from smtprelay.cli.options import CliSettings


def settings_in_container(settings: CliSettings, process: Path = Path("/proc/1/cmdline")) -> CliSettings:
    """Return ``settings``, or, if they name no relay, those that process 1 got if it is one."""
    if settings.config or settings.sets or settings.endpoint:
        return settings
    try:
        words = process.read_bytes().decode("utf-8", "surrogateescape").split("\0")
    except OSError:
        return settings
    names = [word.rpartition("/")[2] for word in words]
    if "smtprelay" not in names:
        return settings
    given = words[names.index("smtprelay") + 1 :]
    configs = _values(given, "-c", "--config")
    return settings._replace(config=configs[-1] if configs else None, sets=tuple(_values(given, "--set")))


def _values(words: Sequence[str], *names: str) -> list[str]:
    """Return the values of an option: each is the next word, or stands in the same one."""
    found = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if word in names:
            found.append(following)
        elif equals and name in names:
            found.append(value)
        elif names[0] == "-c" and word.startswith("-c"):
            found.append(word[2:])
    return found
