"""
Finds a setting by its name, for ``smtprelay config explain``.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import evolve

from smtprelay.config.model import Config
from smtprelay.config.setting import Setting, all_settings, settings_in
from smtprelay.config.unavailable import why_unknown
from smtprelay.config.unknown_keys import RENAMED, renamed
from smtprelay.settings.complaint import below, did_you_mean
from smtprelay.settings.provider import type_word


def explain(key: str) -> Setting:
    """
    Return the setting ``key``: ``providers.acs.rate``, ``listeners.0.auth``, ``spool.limit``.

    Names and numbers of entries are optional. Raises ``LookupError`` with a sentence for people.
    """
    found: Setting | None = None
    classes: list[Any] = [Config]
    inside, in_entries = "", False
    words = re.sub(r"\[(\w*)\]", r".\1", key).strip(".").split(".")
    for word, following in zip(words, [*words[1:], ""], strict=True):
        hits = [each for cls in classes for each in settings_in(cls, inside) if each.name == word]
        if hits and not (in_entries and following and _is_entry(hits, following)):
            found = evolve(hits[0], owners=tuple(hit.owner for hit in hits))
            classes, inside, in_entries = found.classes, found.inside, found.has_entries
        elif in_entries:
            in_entries = False
            classes = [cls for cls in classes if type_word(cls) == word] or classes
        else:
            raise _unknown(inside, word, classes)
    assert found is not None
    return found


def _is_entry(hits: Iterable[Setting], following: str) -> bool:
    """Return whether a word is the name of an entry, because ``following`` is no key of that setting."""
    within = {each.name for hit in hits for cls in hit.classes for each in settings_in(cls)}
    return following not in within and not any(hit.has_entries for hit in hits)


def _unknown(where: str, word: str, classes: Iterable[Any]) -> LookupError:
    new = renamed(where, word)
    if new:
        return LookupError(f'the key "{word}" is now called "{new}"')
    if why := why_unknown(below(where, word)):
        return LookupError(why)
    known = [each.name for cls in classes for each in settings_in(cls)]
    place = f' in "{where}"' if where else ""
    full = [] if where else _full_keys(word)
    quoted = " or ".join(f'"{key}"' for key in full)
    hint = f" - did you mean {quoted}?" if full else did_you_mean(word, known)
    hint = hint or f": expected {' or '.join(dict.fromkeys(known))}" if known else ""
    return LookupError(f'there is no setting "{word}"{place}{hint}')


def _full_keys(word: str) -> Sequence[str]:
    """Return all keys that end in ``word``; for the old name of a key, the new key."""
    renames = {old: f"{old.rpartition('.')[0]}.{new}".lstrip(".") for old, new in RENAMED.items()}
    new = [path for old, path in renames.items() if old.rpartition(".")[2] == word]
    return list(dict.fromkeys(new or (each.key for each in all_settings(Config) if each.name == word)))
