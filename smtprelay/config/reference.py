"""
The help, type, default and example of each setting, from the settings classes; and values as the file has
them.

:func:`explain` is for ``smtprelay config explain`` and the JSON Schema, :func:`effective` for ``config show``
and the log.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from inspect import cleandoc
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from attrs import NOTHING, Attribute, Factory, evolve, fields, frozen, has

from smtprelay.config.endpoint import Endpoint
from smtprelay.config.example import example_of
from smtprelay.config.from_tree import UNITS
from smtprelay.config.listeners import PasswordHash
from smtprelay.config.model import Config
from smtprelay.config.unavailable import why_unknown
from smtprelay.config.unknown_keys import RENAMED, renamed
from smtprelay.model.route import Window
from smtprelay.providers.registry import all_kinds
from smtprelay.settings import values
from smtprelay.settings.complaint import below, did_you_mean
from smtprelay.settings.provider import ProviderSettings, type_word
from smtprelay.settings.secret import Secret

#: The types in words.
WORDS: Final[Mapping[Any, str]] = {
    values.Duration: "duration (30s, 5m, 4h, 2d)",
    values.TimeLimit: "duration (30s, 5m, 4h)",
    values.Expiry: "duration (30s, 5m, 4h, 2d), or never",
    values.Size: "size (10MB, 25MiB)",
    values.Sizes: "range of sizes (<2MiB, >=2MiB)",
    values.Rate: "rate (30/min, 100/h, 25/10s)",
    values.Share: "share (5%, 0.05)",
    values.Count: "number from 1",
    values.Port: "port",
    values.Factor: "factor from 1 to 100",
    values.Flag: "true or false",
    values.Network: "network (10.0.0.0/8, ::1)",
    values.Address: "mail address",
    values.SenderOrAddress: "sender, or mail address",
    values.Pattern: "pattern (*, *@example.com), or mail address",
    values.Domain: "host or domain name",
    values.Host: "host name or IP address",
    values.Name: "name without spaces",
    PasswordHash: 'hash by "smtprelay hash-password"',
    values.Url: "URL",
    values.Text: "text",
    values.FilePath: "path of a file",
    values.FolderPath: "path of a folder",
    Endpoint: "endpoint (tcp:2525:interface=127.0.0.1)",
    Secret: "secret ({file: path}, {env: NAME}, {credential: name})",
}

_SPANS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_SIZES: Final = (
    (1 << 30, "GiB"),
    (10**9, "GB"),
    (1 << 20, "MiB"),
    (10**6, "MB"),
    (1 << 10, "KiB"),
    (10**3, "KB"),
    (1, ""),
)


@frozen(kw_only=True)
class Setting:
    """
    One key of the configuration.

    :ivar key: its full name, with ``*`` for each entry of a list or map.
    :ivar type: in words.
    :ivar default: as in the file; ``None`` also if it depends on other settings.
    :ivar example: from the commented configuration, on one line, or ``""``.
    :ivar keys: those of a section, each with its help.
    """

    key: str
    help: str
    type: str
    required: bool
    default: Any
    example: str
    keys: Mapping[str, str]


def explain(key: str) -> Setting:
    """
    Return the setting ``key``: ``providers.acs.rate``, ``listeners.0.auth``, ``spool.limit``.

    Names and numbers of entries are optional. Raises ``LookupError`` with a sentence for people.
    """
    kind: Any = Config
    classes: list[Any] = [Config]
    where, found = "", None
    types: set[str] = set()
    words = re.sub(r"\[(\w*)\]", r".\1", key).strip(".").split(".")
    for word, following in zip(words, [*words[1:], ""], strict=True):
        hits = [(cls, each) for cls in classes for each in fields(cls) if key_of(each) == word]
        if hits and not (_entries(kind) and following and _is_entry(hits, following)):
            where = below(f"{where}.*" if _entries(kind) else where, word)
            found = hits[0]
            types |= {type_word(cls) for cls, _ in hits} - {""}
            kind = kind_of(*hits[0])
            classes = classes_of(kind)
        elif _entries(kind):
            where, kind = f"{where}.*", None
            classes = [cls for cls in classes if type_word(cls) == word] or classes
        else:
            raise _unknown(where, word, classes)
    assert found is not None
    setting = _setting(where, *found)
    return evolve(setting, type=" or ".join(sorted(types))) if word == "type" and types else setting


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


def key_of(attribute: "Attribute[Any]") -> str:
    """Return the key of an attribute; ``from_`` is ``from``."""
    return attribute.name.rstrip("_")


def kind_of(cls: Any, attribute: "Attribute[Any]") -> Any:
    """Return the type of an attribute in the file, with its unit."""
    return UNITS.get(cls, {}).get(attribute.name, attribute.type)


def help_of(cls: Any, attribute: "Attribute[Any]") -> str:
    """Return the help of an attribute, from the docstrings of ``cls`` or of the attribute's class."""
    for each in cls.__mro__:
        found = re.search(
            rf":ivar {attribute.name}: (.+?)(?=\n:|\n\n|\Z)", cleandoc(each.__doc__ or ""), re.DOTALL
        )
        if found:
            return _plain(found[1])
    below_it = classes_of(kind_of(cls, attribute))
    return summary_of(below_it[0]) if len(below_it) == 1 else ""


def summary_of(cls: Any) -> str:
    """Return the first paragraph of a class's docstring."""
    return _plain(cleandoc(cls.__doc__ or "").partition("\n\n")[0])


def type_of(kind: Any) -> str:
    """Return a type in words."""
    if kind in WORDS:
        return WORDS[kind]
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin is tuple:
        return f"list: {type_of(parts[0])}"
    if origin is Mapping:
        return f"map: {type_of(parts[1])}"
    return type_of(given(kind)) if given(kind) != kind else "section"


def default_of(cls: Any, attribute: "Attribute[Any]") -> Any:
    """Return the default for JSON: ``None`` for a section or none, ``NOTHING`` if the setting is required."""
    default: Any = attribute.default
    if default is NOTHING:
        return NOTHING
    # To mypy ``Factory`` is a function.
    if isinstance(default, Factory):  # type: ignore[arg-type]
        default = default.factory()
    if has(type(default)) or default == "":
        return None
    if isinstance(default, tuple):
        return [str(each) for each in default]
    return spelled(kind_of(cls, attribute), dict(default) if isinstance(default, Mapping) else default)


def _setting(key: str, cls: Any, attribute: "Attribute[Any]") -> Setting:
    kind = kind_of(cls, attribute)
    default = default_of(cls, attribute)
    parts = classes_of(kind)
    keys = {key_of(each): help_of(part, each) for part in parts for each in fields(part)}
    if "type" in keys:
        keys["type"] = " or ".join(sorted(map(type_word, parts)))
    return Setting(
        key=key,
        help=help_of(cls, attribute),
        type=type_of(kind),
        required=default is NOTHING,
        default=None if default is NOTHING else default,
        example=example_of(key),
        keys=keys,
    )


def _is_entry(hits: Iterable[tuple[Any, Any]], following: str) -> bool:
    """Return whether a word is the name of an entry, because ``following`` is no key of that setting."""
    kinds = [kind_of(*hit) for hit in hits]
    below_it = {key_of(each) for kind in kinds for cls in classes_of(kind) for each in fields(cls)}
    return following not in below_it and not any(map(_entries, kinds))


def _entries(kind: Any) -> bool:
    """Return whether ``kind`` is a list or a map."""
    return get_origin(kind) in {tuple, Mapping}


def _unknown(where: str, word: str, classes: Iterable[Any]) -> LookupError:
    new = renamed(where, word)
    if new:
        return LookupError(f'the key "{word}" is now called "{new}"')
    if why := why_unknown(below(where, word)):
        return LookupError(why)
    known = [key_of(each) for cls in classes for each in fields(cls)]
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
    return list(
        dict.fromkeys(new or (path for path in keys_of(Config, "") if path.rpartition(".")[2] == word))
    )


def keys_of(cls: Any, where: str) -> Iterator[str]:
    """Give every key in ``cls``, as :func:`explain` accepts it."""
    for attribute in fields(cls):
        kind = kind_of(cls, attribute)
        path = below(where, key_of(attribute))
        yield path
        for part in classes_of(kind):
            yield from keys_of(part, f"{path}.*" if _entries(kind) else path)


def _plain(text: str) -> str:
    """Return the text of a docstring without markup, on one line."""
    return re.sub(r":\w+:`~?([^`]*)`|``", r"\1", " ".join(text.split()))


def spelled(kind: Any, value: Any) -> Any:
    """Return a ``value`` of type ``kind`` as the file has it, with its unit."""
    if value is None:
        return "never" if kind == values.Expiry else None
    spell = _SPELLED.get(given(kind))
    return value if spell is None else spell(value)


def given(kind: Any) -> Any:
    """Return ``kind`` without ``None``."""
    parts = [part for part in get_args(kind) if part is not type(None)]
    optional = get_origin(kind) in {Union, UnionType} and len(parts) == 1
    return parts[0] if optional else kind


def _span(seconds: float) -> str:
    if seconds % 1:
        return f"{seconds:g}s"
    size, unit = next((pair for pair in _SPANS if seconds and not seconds % pair[0]), (1, "s"))
    return f"{int(seconds) // size}{unit}"


def _size(count: int) -> str:
    size, unit = next((pair for pair in _SIZES if count and not count % pair[0]), (1, ""))
    return f"{count // size}{unit}"


def _sizes(value: values.SizeRange) -> str:
    if value.smallest is None:
        most = value.largest or 0
        targets = (f"<={_size(most)}", f"<{_size(most + 1)}")
    else:
        targets = (f">={_size(value.smallest)}", f">{_size(value.smallest - 1)}")
    return next((way for way in targets if way.endswith("B")), f"{targets[0]}B")


def _rate(value: Window) -> str:
    span = _span(value.seconds)
    count = _size(value.count) if value.unit == "bytes" else value.count
    return f"{count}/{span[1:] if span[:-1] == '1' else span}".replace("/m", "/min")


_SPELLED: Final[Mapping[Any, Callable[[Any], str]]] = {
    values.Duration: _span,
    values.TimeLimit: _span,
    values.Expiry: _span,
    values.Size: _size,
    values.Sizes: _sizes,
    values.Rate: _rate,
    values.Share: lambda value: f"{value * 100:g}%",
}


#: Settings that are hidden although they are no :class:`Secret`.
_HIDDEN: Final = frozenset({"hash", "password_hash"})


def effective(section: Any) -> dict[str, Any]:
    """
    Return the configuration, or a section of it, as JSON can hold it, with the keys and units of the file.

    Of a secret only its place is shown: ``‹file /run/secrets/x›``.
    """
    shown = {}
    for attribute in fields(type(section)):
        key, item = key_of(attribute), getattr(section, attribute.name)
        kind = kind_of(type(section), attribute)
        shown[key] = "‹hidden›" if key in _HIDDEN and item else _shown(item, kind)
    return shown


def _shown(value: Any, kind: Any) -> Any:
    value, kind = spelled(kind, value), given(kind)
    if isinstance(value, Secret):
        return f"‹{value.place}›"
    if has(type(value)):
        return effective(value)
    if isinstance(value, Mapping):
        return {str(key): _shown(item, get_args(kind)[1]) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_shown(item, get_args(kind)[0]) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    # A URL may hold a login: https://user:password@host.
    return re.sub(r"//[^/@\s]*@", "//‹hidden›@", str(value))
