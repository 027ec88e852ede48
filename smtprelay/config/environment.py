"""
What the environment gives: settings (``SMTPRELAY_A__B=value``, and ``--set a.b=value``) and ``${NAME}``.

Settings are put into the tree before it is structured, so they are checked as the file is; a wrong one is
reported by its own name.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from attrs import fields_dict

from smtprelay.config.model import Config
from smtprelay.config.problem import Problem, make_problem
from smtprelay.config.tree import MAXIMUM_DEPTH, Items, Mark, Scalar, Table, TreeNode, child
from smtprelay.config.unknown_keys import renamed
from smtprelay.settings.complaint import Path, below, did_you_mean
from smtprelay.settings.values import unfit

PREFIX: Final = "SMTPRELAY_"

#: The keys at the top of the configuration.
SECTIONS: Final = frozenset(name.rstrip("_") for name in fields_dict(Config))

#: The keys that name the place of a secret, of which it has one.
SECRET_PLACES: Final = ("file", "env", "credential", "key_vault")

#: Variables with this prefix that are not settings.
_OTHERS: Final = frozenset({"SMTPRELAY_CONFIG", "SMTPRELAY_ENDPOINT"})

#: References to variables: ``${NAME}``.
_REFERENCE: Final = re.compile(r"\$\$|\$\{([^}]*)(\}?)")
_INSIDE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::([-?])(.*))?", re.DOTALL)

#: A name of an entry that stands for it; others have a dot, or are a number and so another position.
_NAME: Final = re.compile(r"(?![0-9]+$)[\w-]+")

#: The characters of a too long name that are shown.
_SHOWN: Final = 60

#: Kubernetes sets these in every container if there is a Service called smtprelay….
_SERVICE_LINK: Final = re.compile(
    r"SMTPRELAY_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


def overlay(root: Table, environ: Mapping[str, str], sets: Sequence[str]) -> list[Problem]:
    """
    Put the variables of ``environ``, then ``sets``, into ``root``; return the problems.

    An unknown variable without ``__`` may belong to something else (``SMTPRELAY_IMAGE_TAG``): it is a
    warning.

    Keys of a variable are matched without regard to case, and ``_`` also matches ``-``. An entry of a list
    has its name or its position as a number; the position after the last one appends. A value replaces the
    one before, and the place of a secret the other one that it had.
    """
    problems: list[Problem] = []
    for name in _variables(environ):
        keys = keys_of(name)
        if len(keys) == 1 and keys[0] not in SECTIONS and not renamed("", keys[0]):
            text = f"not a setting, and ignored{did_you_mean(keys[0], SECTIONS)}"
            problems.append(make_problem(Mark(name), text, "CFG-VARIABLE", (), "warning"))
        else:
            problems += _set(root, keys, environ[name], name)
    for assignment in sets:
        path, equals, value = assignment.partition("=")
        # What follows the name is perhaps a secret: "a.b: value".
        name = re.split(r"[\s:]", path.strip(), maxsplit=1)[0]
        origin = f"--set {name}" if name == path.strip() else f"--set {name}…"
        if equals and not re.search(r"[\s:]", path.strip().rpartition(".")[2]):
            problems += _set(root, path.strip().split("."), value, origin)
        else:
            problems.append(_unset(origin, "expected a.b=value"))
    return problems


def keys_of(variable: str) -> list[str]:
    """Return the keys that the name of a variable consists of."""
    return variable.removeprefix(PREFIX).lower().split("__")


def _variables(environ: Mapping[str, str]) -> Iterable[str]:
    # Sorted, so that X__FILE comes after X and wins.
    for name in sorted(environ):
        # PROVIDERS__HOST__PORT is a setting although it ends as a service link does.
        setting = "__" in name and name.removeprefix(PREFIX).partition("__")[0].lower() in SECTIONS
        linked = not setting and _SERVICE_LINK.fullmatch(name)
        if name.startswith(PREFIX) and name not in _OTHERS and not linked:
            yield name


def _unset(origin: str, text: str) -> Problem:
    return make_problem(Mark(origin), text, "CFG-SET", ())


def _set(root: Table, keys: Sequence[str], value: str, origin: str) -> list[Problem]:
    if not all(keys):
        return [_unset(origin, "not a setting: a part of the name is empty")]
    if len(keys) > MAXIMUM_DEPTH:
        return [_unset(f"{origin[:_SHOWN]}…", f"nested deeper than {MAXIMUM_DEPTH} levels")]
    if flaw := next(filter(None, map(unfit, (*keys, value))), ""):
        return [_unset(origin, f"it {flaw}")]
    mark = Mark(origin)
    node: TreeNode = root
    for position, key in enumerate(keys):
        step = _step(node, key)
        if step is None:
            entries = node if isinstance(node, Items) else ()
            names = [(n, name) for n, name in enumerate(map(entry_name, entries)) if name]
            usable = "".join(
                f", or {name}" if _NAME.fullmatch(name) else f" ({n} is {name})" for n, name in names
            )
            expected = f"expected a position from 0 to {len(entries)}{usable}"
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


def is_at(root: Table, keys: Sequence[str], path: Path) -> bool:
    """Return whether a variable or option of these ``keys`` sets what is at ``path``, or makes it."""
    node: TreeNode | None = root
    for key, step in zip(keys, path, strict=False):
        if str(key if node is None else _step(node, key)) != str(step):
            return False
        node = child(node, step)
    return len(keys) == len(path)


def keys_at(root: TreeNode | None, keys: Sequence[str]) -> Sequence[str]:
    """Return ``keys`` of a variable as they are spelled in ``root``, as far as it has them."""
    node, found = root, []
    for key in keys:
        step = None if node is None else _step(node, key)
        node = None if step is None else child(node, step)
        found.append(key if step is None else str(step))
    return found


def _step(node: TreeNode, key: str) -> str | int | None:
    if isinstance(node, Items):
        if re.fullmatch(r"[0-9]{1,4}", key):
            return int(key) if int(key) <= len(node) else None
        steps: dict[str, Any] = {name: n for n, name in enumerate(map(entry_name, node)) if name}
    else:
        steps = {name: name for name in node} if isinstance(node, Table) else {}
    folded = {name.lower().replace("-", "_"): step for name, step in steps.items()}
    other = None if isinstance(node, Items) else key
    return steps[key] if key in steps else folded.get(key.lower().replace("-", "_"), other)


def entry_name(entry: TreeNode | None) -> str:
    """Return the name of an entry of a list, or ``""``."""
    name = child(entry, "name")
    return name.text if isinstance(name, Scalar) else ""


def _put(node: TreeNode, step: str | int, value: TreeNode, mark: Mark) -> None:
    if isinstance(node, Table) and isinstance(step, str):
        if step in SECRET_PLACES and node.keys() <= {*SECRET_PLACES, "expires"}:
            for other in node.keys() - {step, "expires"}:
                del node[other]
        node.put(step, value, mark)
    elif isinstance(node, Items) and isinstance(step, int):
        node[step : step + 1] = [value]


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """
    Return ``text`` with its references replaced.

    * ``${NAME}``: the variable's value; it must be set.
    * ``${NAME:-default}``: ``default`` if the variable is not set or empty.
    * ``${NAME:?message}``: an error with ``message`` if it is not set or empty.
    * ``$$``: one ``$``. Any other ``$`` is unchanged, so a hash (``$scrypt$…``) needs no escape.

    References in values and defaults are not replaced. Raises ``ValueError`` with a sentence for people.
    """
    return _REFERENCE.sub(lambda match: _replace(match, environ), text)


def _replace(match: re.Match[str], environ: Mapping[str, str]) -> str:
    if match[0] == "$$":
        return "$"
    inside = _INSIDE.fullmatch(match[1])
    if not match[2] or not inside:
        raise ValueError(
            f'"{match[0]}" is not a reference to a variable; write ${{NAME}}, or $${{ for a plain ${{'
        )
    name, form, rest = inside.groups()
    value = environ.get(name)
    if form is None:
        if value is None:
            raise ValueError(f"the variable {name} is not set; ${{{name}:-default}} would give it a default")
        return value
    if value:
        return value
    if form == "?":
        raise ValueError(f"the variable {name} is not set: {rest or 'it is required'}")
    return str(rest)
