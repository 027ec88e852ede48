"""
What the settings classes say of each key: help, type, unit, default, example, and its environment variable.

The docstring of a class has one ``:ivar`` for each key, with its help, then what is not in the class itself,
in this order: ``Instead of:`` the setting that it excludes, ``Default:`` in words, if it depends on other
settings, and ``Example:``, if the default is none.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from inspect import cleandoc
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import yaml
from attrs import NOTHING, Attribute, Factory, fields, frozen, has

from smtprelay.config.environment import PREFIX
from smtprelay.model import route as model_route
from smtprelay.providers.registry import all_kinds
from smtprelay.settings import values
from smtprelay.settings.complaint import Path, below
from smtprelay.settings.provider import ProviderSettings, type_word
from smtprelay.settings.secret import Secret
from smtprelay.settings.values import notation_of

#: Values of smtprelay.model are float and int; in the file they have units.
UNITS: Final[Mapping[Any, Mapping[str, Any]]] = {
    model_route.Limits: {
        "size": values.Size | None,
        "request": values.Size | None,
        "recipients": values.Count | None,
    },
    model_route.Schedule: {
        "first": values.Duration,
        "factor": values.Factor,
        "max": values.Duration,
        "jitter": values.Share,
        "attempts": values.Count | None,
    },
}

_LABEL: Final = re.compile(r" (Instead of|Default|Example): ")
#: A variable that a default is taken from, also ``$NAME/…``.
_VARIABLE: Final = re.compile(r"``\$?([A-Z][A-Z0-9]*_[A-Z0-9_]+)(?=``|/)")


@frozen
class Setting:
    """
    One key of the configuration.

    :ivar owner: the settings class that has it.
    :ivar where: the full name of the section that it is in, with ``*`` for each entry of a list or map.
    :ivar owners: all classes that have it, if it stands for several of a union.
    :ivar at: the path of that section; of each entry of a list the position ``0``, of a map ``NAME``.
    :ivar entry: which entry of a list or map is meant; ``None`` is ``0``, or ``NAME``.
    """

    owner: Any
    attribute: "Attribute[Any]"
    where: str = ""
    owners: tuple[Any, ...] = ()
    at: Path = ()
    entry: str | int | None = None

    @property
    def name(self) -> str:
        """The key itself; the attribute of ``from`` is ``from_``."""
        return self.attribute.name.rstrip("_")

    @property
    def key(self) -> str:
        """The full name."""
        return below(self.where, self.name)

    @property
    def inside(self) -> str:
        """The ``where`` of the keys within this section."""
        return f"{self.key}.*" if self.has_entries else self.key

    @property
    def path(self) -> Path:
        """The path of what is in it: of the section, of the value, or of one entry."""
        placeholders: Mapping[Any, str | int] = {tuple: 0, Mapping: "NAME"}
        entry = placeholders.get(get_origin(given(self.kind))) if self.entry is None else self.entry
        return (*self.at, self.name) if entry is None else (*self.at, self.name, entry)

    @property
    def option(self) -> str:
        """What ``--set`` calls it, or its entry; ``""`` for a section."""
        return "" if self.classes or self.only_in_file else ".".join(map(str, self.path))

    @property
    def variable(self) -> str:
        """The environment variable that sets it, or its entry; ``""`` for a section."""
        name = "__".join(map(str, self.path)).upper().replace("-", "_")
        return "" if self.classes or self.only_in_file else f"{PREFIX}{name}"

    @property
    def only_in_file(self) -> bool:
        """Whether it has a key with a dot, as no variable and no ``--set`` can, or is a map of such."""
        names = list(map(str, self.path))
        if self.entry is None and get_origin(given(self.kind)) is Mapping and not self.classes:
            names += yaml.safe_load(self.example)
        return any("." in name for name in names)

    @property
    def kind(self) -> Any:
        """The type in the file."""
        return UNITS.get(self.owner, {}).get(self.attribute.name, self.attribute.type)

    @property
    def has_entries(self) -> bool:
        """Whether it is a list or a map."""
        return get_origin(given(self.kind)) in {tuple, Mapping}

    @property
    def classes(self) -> list[Any]:
        """The settings classes of this section; none if it is none."""
        return classes_of(self.kind)

    @property
    def documented(self) -> Mapping[str, str]:
        """What the docstrings of the class, or of its bases, say of it, by label; the help has none."""
        added: dict[str, str] = {}
        for each in self.owner.__mro__:
            pattern = rf":ivar {self.attribute.name}:( .+?)(?=\n:|\n\n|\Z)"
            if found := re.search(pattern, cleandoc(each.__doc__ or ""), re.DOTALL):
                parts = _LABEL.split(f" {' '.join(found[1].split())}")
                said = dict(zip(("", *parts[1::2]), parts[::2], strict=True))
                if said[""]:
                    return {**said, "": said[""].strip(), **added}
                # A class may say only what it changes of a key of its base.
                added |= dict(list(said.items())[1:])
        classes = self.classes
        return {"": summary_of(classes[0])} if len(classes) == 1 else {}

    @property
    def help(self) -> str:
        """What it does."""
        return plain(self.documented.get("", ""))

    @property
    def instead_of(self) -> str:
        """The setting that it excludes, or ``""``."""
        return plain(self.documented.get("Instead of", "")).rstrip(".")

    @property
    def type(self) -> str:
        """The type in words, with its constraint."""
        words = {type_word(cls) for cls in self.owners or (self.owner,)} - {""}
        return " or ".join(sorted(words)) if self.name == "type" and words else type_of(self.kind)

    @property
    def unit(self) -> str:
        """The units of its numbers, or ``""``."""
        return unit_of(self.kind)

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.attribute.default is NOTHING

    @property
    def default(self) -> Any:
        """The default as the file has it; ``None`` if there is none or it depends on other settings."""
        default: Any = self.attribute.default
        # To mypy ``Factory`` is a function.
        if isinstance(default, Factory):  # type: ignore[arg-type]
            default = default.factory()
        if default is NOTHING or has(type(default)) or default == "":
            return None
        return spelled(self.kind, default)

    @property
    def default_words(self) -> str:
        """The default in words, if it depends on other settings."""
        return plain(self.documented.get("Default", "")).rstrip(".")

    @property
    def default_text(self) -> str:
        """What counts where it is not given, on one line; ``""`` for a section whose keys say that."""
        if self.required:
            return "none, required"
        nothing = "" if self.classes and not self.has_entries else "none"
        return self.default_words or flow(self.default) or nothing

    @property
    def default_variables(self) -> Sequence[str]:
        """The variables that the default is taken from; the first one that is set counts."""
        names = _VARIABLE.findall(self.documented.get("Default", ""))
        # Programs take that of a proxy in small letters, too, and first.
        return [each for name in names for each in ((name.lower(), name) if "PROXY" in name else (name,))]

    @property
    def example(self) -> str:
        """A value on one line; of a section ``""``, unless it has one of its own."""
        shown = self.documented.get("Example", "").rstrip(".").strip("`")
        if shown or self.classes:
            return shown
        return flow(self.default) or next(iter(self.choices), "")

    @property
    def choices(self) -> Sequence[str]:
        """The words of which it is one, if it is."""
        kind = given(self.kind)
        return list(map(str, get_args(kind))) if get_origin(kind) is Literal else []

    @property
    def keys(self) -> Mapping[str, str]:
        """Those of a section, each with its help; of ``type`` all words."""
        found = {each.name: each.help for cls in self.classes for each in settings_in(cls)}
        if "type" in found:
            found["type"] = " or ".join(sorted(map(type_word, self.classes)))
        return found

    @property
    def shown(self) -> tuple[str, ...]:
        """What there is to see of it."""
        return self.name, self.help, self.example, self.default_text

    def sections(self) -> Iterator[tuple[Any, list["Setting"], list["Setting"]]]:
        """Give each class of this section with its settings, and those that are as in a class before it."""
        seen: set[tuple[str, ...]] = set()
        for cls in self.classes:
            every = settings_in(cls, self)
            as_before = [each for each in every if each.shown in seen and not each.required]
            yield cls, [each for each in every if each not in as_before], as_before
            seen |= {each.shown for each in every}


def settings_in(cls: Any, section: Setting | None = None) -> list[Setting]:
    """Return the settings of a class within ``section``: ``type``, its own, then those of its bases."""
    ordered = sorted(fields(cls), key=lambda each: (each.name != "type", each.inherited))
    where, at = (section.inside, section.path) if section else ("", ())
    return [Setting(cls, each, where, at=at) for each in ordered]


def all_settings(cls: Any, section: Setting | None = None) -> Iterator[Setting]:
    """Give each setting of a class, and those within it."""
    for setting in settings_in(cls, section):
        yield setting
        for part in setting.classes:
            yield from all_settings(part, setting)


def classes_of(kind: Any) -> list[Any]:
    """Return the settings classes in ``kind``, also those of a union, list or map."""
    if kind is Secret:
        return []
    if kind is ProviderSettings:
        return [each.settings for each in all_kinds().values()]
    if has(kind):
        return [kind]
    parts = () if get_origin(kind) in {Annotated, Literal} else get_args(kind)
    return [cls for part in parts for cls in classes_of(part)]


def types_with(classes: Sequence[Any], key: str) -> str:
    """Return which other types of entry than those of ``classes`` have a ``key``, as a clause, or ``""``."""
    words = [type_word(cls) for cls in classes]
    siblings = (
        classes_of(ProviderSettings) if all(issubclass(cls, ProviderSettings) for cls in classes) else ()
    )
    others = [type_word(cls) for cls in siblings if key in {each.name for each in settings_in(cls)}]
    return f"a setting of the type {' and '.join(others)}, not of {' and '.join(words)}" if others else ""


def summary_of(cls: Any) -> str:
    """Return the first paragraph of a class's docstring, on one line."""
    return " ".join(cleandoc(cls.__doc__ or "").partition("\n\n")[0].split())


def plain(text: str) -> str:
    """Return the text of a docstring without markup."""
    return re.sub(r":\w+:`~?([^`]*)`|``", r"\1", text)


def type_of(kind: Any) -> str:
    """Return a type in words."""
    if notation := notation_of(kind):
        return notation.words
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin is tuple:
        return f"list: {type_of(parts[0])}"
    if origin is Mapping:
        return f"map: {type_of(parts[1])}"
    if kind is Secret:
        return "secret ({file: path}, {env: NAME}, {credential: name}, {key_vault: URL})"
    alternatives = [part for part in parts if part is not NoneType and origin in {Union, UnionType}]
    return " or ".join(dict.fromkeys(map(type_of, alternatives))) or "section"


def unit_of(kind: Any) -> str:
    """Return the units of a type, or of what a list of it has."""
    if notation := notation_of(kind):
        return notation.unit
    return next((unit for part in get_args(kind) if (unit := unit_of(part))), "")


def given(kind: Any) -> Any:
    """Return ``kind`` without ``None``."""
    parts = [part for part in get_args(kind) if part is not type(None)]
    optional = get_origin(kind) in {Union, UnionType} and len(parts) == 1
    return parts[0] if optional else kind


def spelled(kind: Any, value: Any) -> Any:
    """Return a ``value`` of type ``kind`` as the file has it, with its unit; a section as it is."""
    if value is None and given(kind) != kind:
        return None
    if isinstance(value, tuple):
        return [spelled(get_args(kind)[0], each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): spelled(get_args(kind)[1], each) for key, each in value.items()}
    notation = notation_of(given(kind))
    return notation.spell(value) if notation else value


def flow(value: Any) -> str:
    """Return a value as YAML on one line; ``""`` for an empty one."""
    if value in (None, [], {}):
        return ""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
