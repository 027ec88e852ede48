"""
From the tree to the values of :mod:`smtprelay.config.model`, and to a list of all that is wrong.

A hook for each type decides what a node means and raises :class:`Invalid`, which knows the place in the
file. What is wrong is removed from the tree and the rest is structured again, so that the rest can be checked
as a whole.

No library makes code for the classes: that would take longer than all else that a command does with its
configuration, which it reads once.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from typing import Annotated, Any, Literal, get_args, get_origin

from attrs import fields, fields_dict

from smtprelay.config.checkers import Checker
from smtprelay.config.model import Config
from smtprelay.config.problem import (
    Finding,
    Invalid,
    expect_items,
    expect_one_of,
    expect_table,
    expect_word,
    words_of,
    wrong,
)
from smtprelay.config.setting import Setting, all_settings, given, types_with
from smtprelay.config.tree import Scalar, Table, TreeNode, without
from smtprelay.config.unknown_keys import unknown_keys
from smtprelay.model.units import InvalidNotation
from smtprelay.providers.registry import kinds
from smtprelay.settings.complaint import below, did_you_mean
from smtprelay.settings.provider import ProviderSettings, type_word
from smtprelay.settings.values import notation_of

#: Makes the value of a node, or raises :class:`Invalid`.
Hook = Callable[[TreeNode], Any]


def structure(root: TreeNode, hooks: Mapping[Any, Hook]) -> tuple[Config, Table, list[Finding]]:
    """
    Return the configuration of what is right in ``root``, that part of ``root``, and what is wrong.

    :param hooks: are for the types that depend on the environment.
    """
    root, hook = expect_table(root), TreeReader(hooks).hook_of(Config)
    new: Sequence[Finding] = ()
    findings: list[Finding] = []
    while True:
        findings += (finding for finding in new if not finding.follows)
        root = expect_table(without(root, {id(finding.removed) for finding in new}))
        try:
            return hook(root), root, findings
        except Invalid as invalid:
            new = invalid.findings


class TreeReader:
    """
    Has a hook for each type: those given, and the others, which are made when a node needs them.

    :param hooks: are for the types that depend on the environment.
    """

    def __init__(self, hooks: Mapping[Any, Hook]) -> None:
        self._known: dict[Any, Hook] = dict(hooks)

    def hook_of(self, kind: Any) -> Hook:
        """Return the hook of ``kind``."""
        kind = kind if kind in self._known else given(kind)
        if kind not in self._known:
            self._known[kind] = self._make(kind)
        return self._known[kind]

    def _make(self, kind: Any) -> Hook:
        origin, parts = get_origin(kind), get_args(kind)
        if kind is ProviderSettings:
            return self._type_hook(lambda word: {name: each.settings for name, each in kinds(word).items()})
        if kind is Checker:
            return self._type_hook(lambda _: {type_word(cls): cls for cls in get_args(Checker) or (Checker,)})
        if origin is Literal:
            return lambda node: expect_one_of(node, parts)
        if origin is Annotated:
            return word_hook(_parser(kind))
        if origin is tuple:
            return self._list_hook(parts[0])
        return self._map_hook(*parts) if origin is Mapping else self._table_hook(kind)

    def _type_hook(self, classes_for: Callable[[str], Mapping[str, Any]]) -> Hook:
        """Return the hook that makes one of the classes for the word of the key "type", by these words."""
        table_hook = cache(self._table_hook)

        def hook(node: TreeNode) -> Any:
            entries = expect_table(node)
            word = entries.get("type")
            classes = classes_for(word.text if isinstance(word, Scalar) else "")
            if word is None:
                meant = [f', and "{key}" is unknown' for key in entries if did_you_mean(key, ["type"])]
                text = f'"type" is missing{"".join(meant[:1])}: expected {" or ".join(classes)}'
                raise wrong(node, text, "CFG-MISSING")
            return table_hook(classes[expect_one_of(word, classes, "type", removed=node)])(node)

        return hook

    def _list_hook(self, element: Any) -> Hook:
        def hook(node: TreeNode) -> tuple[Any, ...]:
            findings: list[Finding] = []
            made = []
            bracketed = isinstance(node, Scalar) and node.text.startswith("[")
            if isinstance(node, Scalar) and get_origin(element) is Annotated and not bracketed:
                _expect_good_words(node, _parser(element))
            for item in expect_items(node):
                try:
                    made.append(self.hook_of(element)(item))
                except Invalid as invalid:
                    findings += invalid.findings
            if findings:
                raise Invalid(findings)
            return tuple(made)

        return hook

    def _map_hook(self, key_kind: Any, element: Any) -> Hook:
        parse_key = _parser(key_kind)
        is_word = get_origin(element) in {Literal, Annotated}

        def hook(node: TreeNode) -> dict[Any, Any]:
            findings: list[Finding] = []
            made = {}
            entries = expect_table(node)
            for key, item in entries.items():
                try:
                    if isinstance(item, Table) and not item.mark.line and is_word:
                        raise wrong(item, "a name with a dot can only be given in the file", "CFG-TYPE")
                    made[parse_key(key)] = self.hook_of(element)(item)
                except Invalid as invalid:
                    findings += invalid.findings
                except ValueError as error:
                    mark = entries.key_marks[key]
                    findings.append(Finding(mark, f"{entries.where}: {error}", "CFG-VALUE", item))
            if findings:
                raise Invalid(findings)
            return made

        return hook

    def _table_hook(self, cls: Any) -> Hook:
        settings = {each.name: each for each in map(partial(Setting, cls), fields(cls))}

        def hook(node: TreeNode) -> Any:
            entries = expect_table(node)
            findings = unknown_keys(entries, settings, partial(_home, cls, entries.where))
            meant = {finding.meant for finding in findings}
            made = {}
            for key, setting in settings.items():
                item = entries.get(key)
                # For null the default applies.
                if item is None or (isinstance(item, Scalar) and item.null):
                    findings += [_missing(key, entries, meant)] if setting.required else []
                    continue
                try:
                    made[setting.attribute.name] = self.hook_of(setting.kind)(item)
                except Invalid as invalid:
                    findings += invalid.findings
            if findings:
                raise Invalid(findings)
            return cls(**made)

        return hook


def word_hook(parse: Callable[[str], Any]) -> Hook:
    """Return the hook of a type that is one value; ``parse`` may raise ``ValueError``."""

    def hook(node: TreeNode) -> Any:
        text = expect_word(node)
        try:
            return parse(text)
        except ValueError as error:
            raise wrong(node, str(error)) from None

    return hook


def _parser(kind: Any) -> Callable[[str], Any]:
    notation = notation_of(given(kind))
    assert notation is not None, f"{kind} is not annotated with its notation"
    return notation.parse


def _expect_good_words(node: Scalar, parse: Callable[[str], Any]) -> None:
    """Raise for words, with commas between them, that would be wrong in a list, too."""
    what, written = "", []
    for word in words_of(node):
        try:
            parse(word)
            written.append(word)
        except InvalidNotation as error:
            what = what or error.what
            written.append(error.instead)
        except ValueError as error:
            raise wrong(node, str(error)) from None
    if what:
        raise wrong(node, f"{what}: write [{', '.join(written)}]")


def _missing(key: str, node: Table, meant: Collection[str]) -> Finding:
    text = f'{node.where}: "{key}" is missing' if node.where else f'"{key}" is missing'
    # A key that was removed because it is wrong, or that has a wrong name, is not missing.
    follows = key in node.cut or below(node.where, key) in meant
    return Finding(node.mark, text, "CFG-MISSING", node, follows=follows)


def _home(cls: Any, where: str, key: str) -> str:
    """Return a hint for an unknown ``key`` of ``cls``: the sections that have it, or what is expected."""
    if others := types_with([cls], key):
        return f": {others}"
    within, anywhere = _sections(cls), _sections(Config)
    hint, known = ": it", within if key in within else anywhere
    if key not in known:
        hint, known = f"{did_you_mean(key, within)} It", within
        key = next((name for name in within if f'"{name}"' in hint), "")
    places = " or ".join(f'"{section}"' for section in known.get(key, ()))
    expected = " or ".join(name.rstrip("_") for name in fields_dict(cls)) if where else ""
    return f"{hint} belongs under {places}" if places else f": expected {expected}" if expected else ""


@cache
def _sections(cls: Any) -> dict[str, dict[str, None]]:
    """Return the keys in the sections of ``cls``, each with its sections."""
    found: dict[str, dict[str, None]] = {}
    for each in all_settings(cls):
        if each.where:
            found.setdefault(each.name, {})[each.where] = None
    return found
