"""
From the tree to the values of :mod:`smtprelay.config.model`, and to a list of all that is wrong.

cattrs walks the classes; the hooks decide what a node means for each type and raise :class:`Invalid`, which
knows the place in the file. What is wrong is removed from the tree and the rest is structured again, so that
the rest can be checked as a whole.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from typing import Annotated, Any, Literal, get_args, get_origin

from attrs import fields_dict, has
from cattrs import Converter
from cattrs.errors import ClassValidationError
from cattrs.gen import make_dict_structure_fn, override

from smtprelay.config.listeners import Checker
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
from smtprelay.config.setting import UNITS, all_settings, given, types_with
from smtprelay.config.tree import Scalar, Table, TreeNode, without
from smtprelay.config.unavailable import unavailable
from smtprelay.config.unknown_keys import unknown_keys
from smtprelay.model.units import InvalidNotation
from smtprelay.providers.registry import kinds
from smtprelay.settings.complaint import below, did_you_mean
from smtprelay.settings.provider import ProviderSettings, type_word
from smtprelay.settings.values import notation_of

#: A hook of cattrs: takes a node and its type.
Hook = Callable[[TreeNode, Any], Any]


def structure(root: TreeNode, converter: Converter) -> tuple[Config, Table, list[Finding]]:
    """Return the configuration of what is right in ``root``, that part of ``root``, and what is wrong."""
    root = expect_table(root)
    new: Sequence[Finding] = unavailable(root)
    findings: list[Finding] = []
    while True:
        findings += (finding for finding in new if not finding.follows)
        root = expect_table(without(root, {id(finding.removed) for finding in new}))
        try:
            return converter.structure(root, Config), root, findings
        except Invalid as invalid:
            new = invalid.findings


def make_converter(hooks: Mapping[Any, Hook]) -> Converter:
    """Return the converter of trees; ``hooks`` are for the types that depend on the environment."""
    converter = Converter(detailed_validation=True)
    by_type: Mapping[Any, Callable[[str], Mapping[str, Any]]] = {
        ProviderSettings: lambda word: {name: kind.settings for name, kind in kinds(word).items()},
        Checker: lambda _: {type_word(cls): cls for cls in get_args(Checker) or (Checker,)},
    }

    def hook_of(kind: Any) -> Hook:
        origin, parts = get_origin(kind), get_args(kind)
        if kind in hooks:
            return hooks[kind]
        if kind in by_type:
            return _type_hook(by_type[kind], converter)
        if origin is Literal:
            return lambda node, _: expect_one_of(node, parts)
        if origin is Annotated:
            return word_hook(_parser(kind))
        if origin is tuple:
            return _list_hook(parts[0], converter)
        return _map_hook(parts[0], parts[1], converter) if origin is Mapping else _table_hook(kind, converter)

    converter.register_structure_hook_factory(
        lambda kind: (
            kind in hooks
            or kind in by_type
            or has(kind)
            or get_origin(kind) in {Literal, Annotated, tuple, Mapping}
        ),
        hook_of,
    )
    return converter


def word_hook(parse: Callable[[str], Any]) -> Hook:
    """Return the hook of a type that is one value; ``parse`` may raise ``ValueError``."""

    def hook(node: TreeNode, _: Any) -> Any:
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


def _type_hook(classes_for: Callable[[str], Mapping[str, Any]], converter: Converter) -> Hook:
    """Return the hook that makes one of the classes for the word of the key "type", by these words."""
    hook_of = cache(partial(_table_hook, converter=converter))

    def hook(node: TreeNode, _: Any) -> Any:
        word = expect_table(node).get("type")
        classes = classes_for(word.text if isinstance(word, Scalar) else "")
        if word is None:
            raise wrong(node, f'"type" is missing: expected {" or ".join(classes)}', "CFG-MISSING")
        return hook_of(classes[expect_one_of(word, classes, "type", removed=node)])(node, None)

    return hook


def _list_hook(element: Any, converter: Converter) -> Hook:
    def hook(node: TreeNode, _: Any) -> tuple[Any, ...]:
        findings: list[Finding] = []
        made = []
        bracketed = isinstance(node, Scalar) and node.text.startswith("[")
        if isinstance(node, Scalar) and get_origin(element) is Annotated and not bracketed:
            _expect_good_words(node, _parser(element))
        for item in expect_items(node):
            try:
                made.append(converter.structure(item, element))
            except Invalid as invalid:
                findings += invalid.findings
        if findings:
            raise Invalid(findings)
        return tuple(made)

    return hook


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


def _map_hook(key_kind: Any, element: Any, converter: Converter) -> Hook:
    parse_key = _parser(key_kind)

    def hook(node: TreeNode, _: Any) -> dict[Any, Any]:
        findings: list[Finding] = []
        made = {}
        entries = expect_table(node)
        for key, item in entries.items():
            try:
                made[parse_key(key)] = converter.structure(item, element)
            except Invalid as invalid:
                findings += invalid.findings
            except ValueError as error:
                findings.append(
                    Finding(entries.key_marks[key], f"{entries.where}: {error}", "CFG-VALUE", item)
                )
        if findings:
            raise Invalid(findings)
        return made

    return hook


def _table_hook(cls: Any, converter: Converter) -> Hook:
    units = UNITS.get(cls, {})
    keys = {name: name.rstrip("_") for name in fields_dict(cls)}
    overrides = {
        name: override(rename=key, struct_hook=word_hook(_parser(units[name])) if name in units else None)
        for name, key in keys.items()
    }

    @cache
    def make() -> Callable[[Mapping[str, Any], Any], Any]:
        """Return cattrs' function, which is slow to make, for a class that the configuration has."""
        # The overrides are by name; what else it takes has other types.
        return make_dict_structure_fn(cls, converter, **overrides)  # type: ignore[arg-type]

    def hook(node: TreeNode, _: Any) -> Any:
        entries = expect_table(node)
        findings = unknown_keys(entries, keys.values(), partial(_home, cls, entries.where))
        # For null the default applies.
        given = {
            key: value for key, value in entries.items() if not (isinstance(value, Scalar) and value.null)
        }
        try:
            made = make()(given, cls)
        except ClassValidationError as group:
            findings += _findings(group, entries, {finding.meant for finding in findings})
        if findings:
            raise Invalid(findings)
        return made

    return hook


def _findings(group: ClassValidationError, node: Table, meant: Collection[str]) -> list[Finding]:
    findings: list[Finding] = []
    for error in group.exceptions:
        if isinstance(error, Invalid):
            findings += error.findings
        elif isinstance(error, KeyError):
            findings.append(_missing(error.args[0], node, meant))
        else:
            raise error
    return findings


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
