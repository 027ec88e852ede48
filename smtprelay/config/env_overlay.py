"""
Settings from outside of the file: ``SMTPRELAY_A__B=value`` and ``--set a.b=value``.

They are laid over the tree before it is given a meaning, so they are checked as
the file is, and a wrong one is told by its own name.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from attrs import fields_dict

from smtprelay.config.model import Config
from smtprelay.config.problem import Problem, did_you_mean, make_problem
from smtprelay.config.tree import MAXIMUM_DEPTH, Items, Mark, Node, Scalar, Table, below, child, unfit
from smtprelay.config.unknown_keys import renamed

PREFIX: Final = "SMTPRELAY_"

#: The keys at the top of the configuration.
SECTIONS: Final = frozenset(name.rstrip("_") for name in fields_dict(Config))

#: Variables with this prefix that are no settings: they say where to look.
_OTHERS: Final = frozenset({"SMTPRELAY_CONFIG", "SMTPRELAY_ENDPOINT"})

#: Of a name that is too long, characters that are told.
_SHOWN: Final = 60

#: Kubernetes sets these in every container beside a Service that is called smtprelay….
_SERVICE_LINK: Final = re.compile(
    r"SMTPRELAY_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


def overlay(root: Table, environ: Mapping[str, str], sets: Sequence[str]) -> list[Problem]:
    """
    Lay the variables of ``environ``, then ``sets``, over ``root``; return what could not be.

    A variable without ``__`` that is no setting may be somebody else's (``SMTPRELAY_IMAGE_TAG``): a warning.

    Keys of a variable are found without regard to case, and ``_`` also finds ``-``; what is in a list has its
    name, or its position as a number; the one after the last appends. What is set replaces what was there.
    """
    problems: list[Problem] = []
    for name in _variables(environ):
        keys = name.removeprefix(PREFIX).lower().split("__")
        if len(keys) == 1 and keys[0] not in SECTIONS and not renamed("", keys[0]):
            problems.append(_not_ours(name, keys[0]))
        else:
            problems += _set(root, keys, environ[name], name)
    for assignment in sets:
        path, equals, value = assignment.partition("=")
        if equals:
            problems += _set(root, path.strip().split("."), value, f"--set {path}")
        else:
            problems.append(_unset(f"--set {path}", "expected a.b=value"))
    return problems


def _variables(environ: Mapping[str, str]) -> Iterable[str]:
    # Sorted, so that X__FILE comes after X and wins.
    for name in sorted(environ):
        # The port of a provider is one, too: PROVIDERS__HOST__PORT.
        setting = "__" in name and name.removeprefix(PREFIX).partition("__")[0].lower() in SECTIONS
        linked = not setting and _SERVICE_LINK.fullmatch(name)
        if name.startswith(PREFIX) and name not in _OTHERS and not linked:
            yield name


def _not_ours(name: str, key: str) -> Problem:
    text = f"no setting, and ignored{did_you_mean(key, SECTIONS)}"
    return make_problem(Mark(name), text, "CFG-VARIABLE", (), "warning")


def _unset(origin: str, text: str) -> Problem:
    return make_problem(Mark(origin), text, "CFG-SET", ())


def _set(root: Table, keys: Sequence[str], value: str, origin: str) -> list[Problem]:
    if not all(keys):
        return [_unset(origin, "names no setting: a part of the name is empty")]
    if len(keys) > MAXIMUM_DEPTH:
        return [_unset(f"{origin[:_SHOWN]}…", f"nested deeper than {MAXIMUM_DEPTH} levels")]
    if flaw := next(filter(None, map(unfit, (*keys, value))), ""):
        return [_unset(origin, f"it {flaw}")]
    mark = Mark(origin)
    node: Node = root
    for position, key in enumerate(keys):
        step = _step(node, key)
        if step is None:
            entries = node if isinstance(node, Items) else ()
            names = "".join(f", or {name}" for name in filter(None, map(_name, entries)))
            expected = f"expected a position from 0 to {len(entries)}{names}"
            return [_unset(origin, f'{node.where} is a list: {expected}, not "{key}"')]
        where = below(node.where, step)
        following = child(node, step)
        if position == len(keys) - 1:
            following = Scalar(value, mark, where, literal=False)
            _put(node, step, following, mark)
        elif following is None or isinstance(following, Scalar):
            following = (Items if keys[position + 1].isdecimal() else Table)(mark, where)
            _put(node, step, following, mark)
        node = following
    return []


def _step(node: Node, key: str) -> str | int | None:
    if isinstance(node, Items):
        if re.fullmatch(r"[0-9]{1,4}", key):
            return int(key) if int(key) <= len(node) else None
        steps: dict[str, Any] = {name: n for n, name in enumerate(map(_name, node)) if name}
    else:
        steps = {name: name for name in node} if isinstance(node, Table) else {}
    folded = {name.lower().replace("-", "_"): step for name, step in steps.items()}
    other = None if isinstance(node, Items) else key
    return steps[key] if key in steps else folded.get(key.lower().replace("-", "_"), other)


def _name(entry: Node) -> str:
    """Return what an entry of a list calls itself, or ``""``."""
    name = child(entry, "name")
    return name.text if isinstance(name, Scalar) else ""


def _put(node: Node, step: str | int, value: Node, mark: Mark) -> None:
    if isinstance(node, Table) and isinstance(step, str):
        node.put(step, value, mark)
    elif isinstance(node, Items) and isinstance(step, int):
        node[step : step + 1] = [value]
