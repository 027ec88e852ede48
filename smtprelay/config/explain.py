"""
Finds a setting by its name, for ``smtprelay config explain``: in the classes, and in a configuration.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args, get_origin

from attrs import evolve, field, frozen

from smtprelay.config.environment import PREFIX, SECRET_PLACES, entry_name, is_at, keys_at, keys_of
from smtprelay.config.model import Config
from smtprelay.config.setting import Setting, all_settings, given, plain, settings_in, summary_of, types_with
from smtprelay.config.tree import Items, Table, TreeNode, child, type_text
from smtprelay.config.unknown_keys import RENAMED, renamed
from smtprelay.settings.complaint import Path, did_you_mean, spelled
from smtprelay.settings.provider import type_word
from smtprelay.settings.secret import Secret

#: The entry of a list or map, whichever it is.
_ANY: Final = "*"


@frozen(kw_only=True)
class Explained:
    """
    What a key names.

    :ivar setting: the setting; for an entry of a list or map the one that it is an entry of.
    :ivar classes: the settings classes of this section; none if it is none.
    :ivar place: its path in the configuration; ``None`` if the key does not say which entry is meant.
    :ivar is_entry: it is an entry.
    :param root: the tree of the configuration, or ``None``.
    """

    setting: Setting
    classes: Sequence[Any]
    place: Path | None = None
    is_entry: bool = False
    _root: Table | None = field(default=None, repr=False, alias="root")

    @property
    def key(self) -> str:
        """The full name, as ``config show --sources`` has it; with ``*`` where an entry is not named."""
        if self.place is not None:
            return spelled(self.place)
        return self.setting.inside if self.is_entry else self.setting.key

    @property
    def type_words(self) -> str:
        """The types of the entry that it is, or is within, in words; ``""`` if that makes no difference."""
        classes = self.classes if self.is_entry else self.setting.owners
        words = [word for cls in classes if (word := type_word(cls))]
        return "" if self.setting.name == "type" or self.types else " or ".join(words)

    @property
    def help(self) -> str:
        """What it does."""
        only = self.classes[0] if self.is_entry and len(self.classes) == 1 else None
        return plain(summary_of(only)) if only else self.setting.help

    @property
    def option(self) -> str:
        """What ``--set`` calls it, or its first entry; ``""`` if nothing does."""
        keys = list(map(str, self.setting.path))
        return self.setting.option if self._is_set_by(keys) else ""

    @property
    def variable(self) -> str:
        """The environment variable that sets it, or its first entry; ``""`` if none does."""
        name = self.setting.variable
        works = re.fullmatch(r"\w+", name, re.ASCII) and self._is_set_by(keys_of(name))
        return name if works else ""

    @property
    def spellings_of_places(self) -> Sequence[str]:
        """How a variable and ``--set`` name the place of a secret; none for what is no secret."""
        kind = given(self.setting.kind)
        if Secret is not (get_args(kind)[0] if get_origin(kind) is tuple else kind):
            return ()
        option = f"--set {self.option}.file=PATH" if self.option else ""
        return list(filter(None, (self.variable and f"{self.variable}__FILE=PATH", option)))

    def _is_set_by(self, keys: Sequence[str]) -> bool:
        """Return whether the loader puts at this place what ``keys`` name."""
        if self.place is None or self._root is None:
            return True
        return is_at(self._root, keys[: len(self.place)], self.place)

    @property
    def keys(self) -> Mapping[str, Setting]:
        """Those of a section; none of one that has entries of several types."""
        if self.types:
            return {}
        return {each.name: each for cls in self.classes for each in settings_in(cls, self.setting)}

    @property
    def types(self) -> Mapping[str, str]:
        """The types of the entries, if it is a section of those: what each is."""
        if self.is_entry and len(self.classes) == 1:
            return {}
        return {word: plain(summary_of(cls)) for cls in self.classes if (word := type_word(cls))}


def explain(key: str, root: Table | None = None) -> Sequence[Explained]:
    """
    Return the setting ``key``: ``providers.acs.rate``, ``listeners.0.auth``, ``spool.limit``.

    It is several settings if the types of an entry that is not named have different ones of that name.
    Names and numbers of entries are optional. The name of a variable is also one of its setting.

    :param root: the tree of a configuration, which has the names and types of the entries. Where it has no
        entry of a name, as without it, the word of a type stands for an entry of that type.

    Raises ``LookupError`` with a sentence for people.
    """
    words: Sequence[str] = re.sub(r"\[([^\]]*)\]", r".\1", key).strip(".").split(".")
    if key.startswith(PREFIX):
        words = keys_at(root, keys_of(key))
    place: Path | None = None if root is None else ()
    found = _SettingSearch(root, (Config,), None, root, place).find(words)
    return [evolve(each, root=root) for each in found]


@frozen
class _SettingSearch:
    """
    Where the next word of a key is looked for.

    :ivar root: the configuration's tree; ``None``: there is none.
    :ivar classes: the settings classes that may be there.
    :ivar inside: the setting that it is, or that it is an entry of; ``None`` is the whole configuration.
    :ivar node: what the configuration has there; ``place``: its path, ``None`` for no certain one.
    """

    root: Table | None
    classes: Sequence[Any]
    inside: Setting | None
    node: TreeNode | None
    place: Path | None

    @property
    def key(self) -> str:
        """The name of the section."""
        assert self.inside is not None
        return self.inside.inside if self.place is None else spelled(self.place)

    def find(self, words: Sequence[str]) -> Sequence[Explained]:
        """Return what ``words`` name within."""
        word, rest = words[0], words[1:]
        found: list[Explained] = []
        wrong: list[LookupError] = []
        for setting, classes in self._settings(word):
            place = None if self.place is None else (*self.place, word)
            below_it = _SettingSearch(self.root, classes, setting, child(self.node, word), place)
            try:
                if not rest or (given(setting.kind) is Secret and rest[0] in SECRET_PLACES and not rest[1:]):
                    found.append(Explained(setting=setting, classes=classes, place=place))
                elif setting.has_entries:
                    found += below_it.find_in_entry(rest)
                else:
                    found += below_it.find(rest)
            except LookupError as error:
                wrong.append(error)
        if not found:
            raise next(iter(wrong), None) or self._unknown(word, is_last=not rest)
        return found

    def _settings(self, word: str) -> Iterator[tuple[Setting, Sequence[Any]]]:
        """Give the settings of this name that differ, each with its classes."""
        hits = [each for cls in self.classes for each in settings_in(cls, self.inside) if each.name == word]
        differing: dict[object, list[Setting]] = {}
        for hit in hits:
            differing.setdefault("" if word == "type" else hit.shown, []).append(hit)
        for same in differing.values():
            classes = list(dict.fromkeys(cls for hit in same for cls in hit.classes))
            yield evolve(same[0], owners=tuple(hit.owner for hit in same)), classes

    def find_in_entry(self, words: Sequence[str]) -> Sequence[Explained]:
        """Return what ``words``, of which the first ones may name an entry, name within it."""
        word, rest = words[0], words[1:]
        named = self._named(words)
        if named is not None:
            step, rest = named
            node = child(self.node, step)
            chosen = [cls for cls in self.classes if type_word(cls) == type_text(node)] or self.classes
            entry = self._entry(self._spelled(step), chosen, step, node)
            try:
                return entry.find_rest(rest)
            except LookupError:
                if not (word := type_text(node)) or word in map(type_word, self.classes):
                    raise
                known = " or ".join(map(type_word, self.classes))
                raise LookupError(f"{entry.key}: the type {word} is unknown: expected {known}") from None
        if not self.classes:
            return self._word_entry(".".join(words))
        typed = [cls for cls in self.classes if type_word(cls) == word]
        if typed or word == _ANY:
            return self._entry(None, typed or self.classes).find_rest(rest)
        if word in {each.name for cls in self.classes for each in settings_in(cls)}:
            try:
                return self._entry(None, self.classes).find(words)
            except LookupError:
                if self.place is not None or not rest:
                    raise
        return self._new_entry(word).find_rest(rest)

    def find_rest(self, words: Sequence[str]) -> Sequence[Explained]:
        """Return what ``words`` name within this entry; without words the entry itself."""
        if words:
            return self.find(words)
        assert self.inside is not None
        return [Explained(setting=self.inside, classes=self.classes, place=self.place, is_entry=True)]

    def _named(self, words: Sequence[str]) -> tuple[str | int, Sequence[str]] | None:
        """Return the entry of the configuration that the first words name, and the words behind them."""
        names = dict(self._names())
        for count in range(len(words), 0, -1):
            if (name := ".".join(words[:count])) in names:
                return names[name], words[count:]
        return None

    def _names(self) -> Iterator[tuple[str, str | int]]:
        """Give the names of the entries that the configuration has; of those of a list the positions, too."""
        if isinstance(self.node, Table):
            yield from ((name, name) for name in self.node)
        elif isinstance(self.node, Items):
            yield from ((str(position), position) for position in range(len(self.node)))
            # As for ``--set`` a number is a position, whatever the names are.
            names = enumerate(map(entry_name, self.node))
            yield from ((name, n) for n, name in names if name and not name.isdecimal())

    def _spelled(self, step: str | int) -> str | int:
        """Return how variables and ``--set`` name an entry: by its name, if that works."""
        name = entry_name(child(self.node, step)) if isinstance(step, int) else ""
        usable = re.fullmatch(r"[A-Za-z][\w-]*", name, re.ASCII)
        return name if usable and dict(self._names())[name] == step else step

    def _entry(
        self,
        spelled_as: str | int | None,
        classes: Sequence[Any],
        step: str | int | None = None,
        node: TreeNode | None = None,
    ) -> "_SettingSearch":
        """Return an entry; without a ``step`` none that the configuration has."""
        assert self.inside is not None
        place = None if self.place is None or step is None else (*self.place, step)
        return _SettingSearch(self.root, classes, evolve(self.inside, entry=spelled_as), node, place)

    def _new_entry(self, word: str) -> "_SettingSearch":
        """Return an entry that there is not; in a configuration that is the next one of a list."""
        is_list = self._is_list
        if self.place is None:
            return self._entry((int(word) if word.isdecimal() else None) if is_list else word, self.classes)
        count = len(self.node) if isinstance(self.node, Items) else 0
        if is_list and word == str(count):
            return self._entry(count, self.classes, count)
        raise self._no_entry(word)

    def _word_entry(self, word: str) -> Sequence[Explained]:
        """Return an entry of a list or map of single values; any key may be new in a map."""
        step = int(word) if word.isdecimal() else word
        if self._is_list and word != _ANY:
            count = len(self.node) if isinstance(self.node, Items) else 0
            if not isinstance(step, int) or (self.place is not None and step > count):
                raise self._no_entry(word)
        known = None if word == _ANY else step if self._is_list else word
        return self._entry(known, (), known).find_rest(())

    @property
    def _is_list(self) -> bool:
        assert self.inside is not None
        return get_origin(given(self.inside.kind)) is tuple

    def _no_entry(self, word: str) -> LookupError:
        assert self.inside is not None
        names = [name for name, _ in self._names() if not name.isdecimal()]
        types = [type_word(cls) for cls in self.classes if type_word(cls)]
        where = self.inside.key if self.place is None else spelled(self.place)
        of = "" if self.root is None else f" of {self.root.mark.file}"
        known = ", ".join(name for name, _ in self._names())
        hint = did_you_mean(word, [*names, *types]) or (f": it has {known}" if known else "")
        return LookupError(f'there is no "{word}" in "{where}"{of}{hint}')

    def _unknown(self, word: str, *, is_last: bool) -> LookupError:
        where = self.inside.inside if self.inside else ""
        new = renamed(where, word)
        if new:
            return LookupError(f'the key "{word}" is now called "{new}"')
        known = [each.name for cls in self.classes for each in settings_in(cls)]
        place = f' in "{where}"' if where else ""
        section = "" if is_last else did_you_mean(word, known)
        full = [] if where or section else _full_keys(word)
        quoted = " or ".join(f'"{key}"' for key in full)
        others = types_with(self.classes, word)
        hint = (
            f" - did you mean {quoted}?" if full else f": {others}" if others else did_you_mean(word, known)
        )
        hint = hint or f": expected {' or '.join(dict.fromkeys(known))}" if known else ""
        return LookupError(f'there is no setting "{word}"{place}{hint}')


def _full_keys(word: str) -> Sequence[str]:
    """Return all keys that end in ``word``; if it is only the old name of a key, the new key."""
    renames = {old: f"{old.rpartition('.')[0]}.{new}".lstrip(".") for old, new in RENAMED.items()}
    new = [path for old, path in renames.items() if old.rpartition(".")[2] == word]
    return list(dict.fromkeys(each.key for each in all_settings(Config) if each.name == word)) or new
