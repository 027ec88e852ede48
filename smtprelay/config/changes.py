"""
The differences of two configurations, and which of them only a restart puts into force. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import evolve, frozen, has

from smtprelay.config.effective import effective
from smtprelay.config.model import Config
from smtprelay.config.setting import given, settings_in
from smtprelay.settings.complaint import below
from smtprelay.settings.secret import Secret
from smtprelay.settings.values import notation_of

#: The sections that stay what they were when the relay started, and so of the log's settings.
_FIXED: Final = ("spool", "workers", "supervise", "control_socket")
_FIXED_LOGGING: Final = ("format", "file")


@frozen
class Change:
    """
    One setting that has another value.

    :ivar key: its full name.
    :ivar before: as the file has it, a secret masked; ``None``: it was not there. So is ``after``.
    """

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if isinstance(self.before, dict) or isinstance(self.after, dict):
            what = "added" if self.before is None else "removed" if self.after is None else "replaced"
            return f"{self.key}: {what}"
        # Of a secret the values are not shown.
        same = self.before == self.after
        return f"{self.key}: " + ("changed" if same else f"{_spoken(self.before)} → {_spoken(self.after)}")


def applicable(old: Config, new: Config) -> tuple[Config, Sequence[str]]:
    """
    Return ``new`` with what only a restart changes as ``old`` has it, and the keys of that.

    :raises ValueError: without them the other settings make no sense.
    """
    if (old.spool is None) != (new.spool is None):
        raise ValueError("spool: a relay that runs cannot get or lose its spool: restart it")
    fixed = {name: getattr(old, name) for name in _FIXED}
    fixed["logging"] = evolve(new.logging, **{name: getattr(old.logging, name) for name in _FIXED_LOGGING})
    usable = evolve(new, **fixed)
    return usable, [change.key for change in changes(usable, new)]


def changes(old: Any, new: Any, within: str = "") -> list[Change]:
    """Return the settings of a section that differ; each entry of a list or map counts by its own name."""
    found: list[Change] = []
    shown, shown_new = effective(old), effective(new)
    for each in settings_in(type(old)):
        key = below(within, each.name)
        values = getattr(old, each.attribute.name), getattr(new, each.attribute.name)
        pair = shown[each.name], shown_new[each.name]
        if notation_of(given(each.kind)) is None:
            found += _compared(key, values, pair)
        elif values[0] != values[1]:
            found.append(Change(key, *pair))
    return found


def _compared(key: str, values: tuple[Any, Any], shown: tuple[Any, Any]) -> Iterator[Change]:
    old, new = values
    before, after = _by_name(old, shown[0]), _by_name(new, shown[1])
    if has(type(old)) and type(old) is type(new) and not isinstance(old, Secret):
        yield from changes(old, new, key)
    elif before is not None and after is not None:
        (olds, olds_shown), (news, news_shown) = before, after
        for name in dict.fromkeys((*olds, *news)):
            pair = olds.get(name), news.get(name)
            yield from _compared(below(key, name), pair, (olds_shown.get(name), news_shown.get(name)))
        order = [name for name in olds if name in news], [name for name in news if name in olds]
        if isinstance(old, tuple) and order[0] != order[1]:
            yield Change(key, *order)
    elif old != new or _text(old) != _text(new):
        yield Change(key, *shown)


def _by_name(value: Any, shown: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """Return the entries of a map, or of a list of sections; ``None`` for anything else."""
    if isinstance(value, Mapping):
        return {str(name): each for name, each in value.items()}, shown
    if isinstance(value, tuple) and all(isinstance(each, dict) for each in shown):
        names = [getattr(each, "name", str(number)) for number, each in enumerate(value)]
        return dict(zip(names, value, strict=True)), dict(zip(names, shown, strict=True))
    return None


def _text(value: Any) -> str:
    return value.text() if isinstance(value, Secret) else ""


def _spoken(value: Any) -> str:
    values = value if isinstance(value, list) else [] if value is None else [value]
    # As YAML has them.
    words = (str(each).lower() if isinstance(each, bool) else str(each) for each in values)
    return ", ".join(words) or "none"
