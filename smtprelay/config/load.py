"""
Loads a configuration from a file, the environment and ``--set``, or reports all its problems.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import field, frozen

from smtprelay.config.environment import SECTIONS, overlay
from smtprelay.config.from_tree import structure
from smtprelay.config.model import Config
from smtprelay.config.problem import ConfigError, Problem, make_problem
from smtprelay.config.references import outside_hooks
from smtprelay.config.setting_defaults import complete, variables_of
from smtprelay.config.tree import Mark, Table, TreeNode, without
from smtprelay.config.unknown_keys import renamed
from smtprelay.config.yaml_source import MAXIMUM_BYTES, parse
from smtprelay.settings.complaint import did_you_mean, spelled
from smtprelay.settings.secret import complaint

#: The most findings that are reported at once.
MOST_FINDINGS: Final = 1000

#: Where a configuration is looked for if none is named.
PLACES: Final = ("smtprelay.yaml", "/etc/smtprelay/smtprelay.yaml")

#: The settings that say where the relay's socket and spool are, and what it hides.
PLACE: Final = frozenset({"control_socket", "privacy", "spool"})


@frozen
class Loaded:
    """
    A configuration without errors.

    :ivar warnings: reported at each start.
    :ivar file: where it was read from.
    :ivar text: what was in the file.
    :ivar root: what was given in the file, the environment and by options, with the place of each value.
    """

    config: Config
    warnings: tuple[Problem, ...]
    file: str
    text: bytes = field(repr=False, eq=False)
    root: Table = field(repr=False, eq=False)


def load(
    path: str | None,
    environ: Mapping[str, str],
    sets: Sequence[str] = (),
    *,
    alone: bool = False,
    only: Collection[str] | None = None,
    text: bytes | None = None,
) -> Loaded:
    """
    Return the configuration from a file, ``environ`` and ``sets``; the last one wins.

    :param path: as given with ``-c``; ``None`` is ``SMTPRELAY_CONFIG``, else the first of :data:`PLACES`.
    :param sets: the values of ``--set``, each ``a.b=c``.
    :param alone: do not check the secrets and files that the configuration names.
    :param only: read only these keys of the top, and check only each for itself: a command finds its relay
        while another setting is wrong. Without a spool there ``spool`` takes the listeners, too.
    :param text: what is in the file, if it was read before.

    Raises :class:`ConfigError` with all problems. It reads files, so it must not run in the reactor's thread
    while mail flows.
    """
    file = path or environ.get("SMTPRELAY_CONFIG") or _find()
    text = _read(file) if text is None else text
    source = parse(text, file, environ)
    if source.broken:
        raise ConfigError(source.problems)
    problems = [each for each in source.problems if only is None or _section(each, source.root) in only]
    problems += overlay(source.root, environ, sets)
    hooks = outside_hooks(environ, Path(file).absolute().parent)
    config, root, findings = structure(source.root if only is None else _part(source.root, only), hooks)
    # A value that is wrong as text is not reported again as a setting.
    known = {(problem.line, problem.column) for problem in source.problems}
    new = [found for found in findings if (found.mark.line, found.mark.column) not in known]
    problems += [
        make_problem(found.mark, found.text, found.code, source.lines) for found in new[:MOST_FINDINGS]
    ]
    config = complete(config, environ)
    if only is None:
        invalid = {name for found in findings for name in (found.removed.where, found.meant)}
        variables = dict(variables_of(config, environ))
        problems += _check((config, root, source.root, invalid, variables), source.lines, alone=alone)
    problems.sort(key=lambda problem: (problem.file, problem.line, problem.column))
    if any(problem.severity == "error" for problem in problems):
        raise ConfigError(problems)
    return Loaded(config, tuple(problems), file, text, source.root)


def read_tree(path: str | None, environ: Mapping[str, str], sets: Sequence[str] = ()) -> Table | None:
    """
    Return what a configuration has, whatever is wrong with it; the parameters are those of :func:`load`.

    ``None`` if none is named, and there is none in the usual places. Raises :class:`ConfigError` for a file
    that cannot be read.
    """
    try:
        file = path or environ.get("SMTPRELAY_CONFIG") or _find()
    except ConfigError:
        return None
    source = parse(_read(file), file, environ)
    if source.broken:
        raise ConfigError(source.problems)
    overlay(source.root, environ, sets)
    return source.root


def _part(root: Table, only: Collection[str]) -> TreeNode:
    """Return ``root`` with only some sections, and what may be meant for them by its name."""
    named = set(only)
    if "spool" in only and not isinstance(root.get("spool"), Table):
        named = named - {"spool"} | {"listeners"}
    others = {key for key in root.keys() - named if key in SECTIONS or not _meant(key, only)}
    return without(root, {id(root[key]) for key in others})


def _section(problem: Problem, root: Table) -> str:
    """Return the key at the top that a problem of the file is within."""
    marks = ((mark.line, mark.column, key) for key, mark in root.key_marks.items())
    begun = [(line, key) for line, column, key in marks if (line, column) <= (problem.line, problem.column)]
    return max(begun)[1] if begun else ""


def _meant(key: str, only: Collection[str]) -> bool:
    return bool(renamed("", key) or did_you_mean(key, only))


def _check(
    parts: tuple[Config, Table, Table, set[str], Mapping[str, str]], lines: Sequence[str], *, alone: bool
) -> Iterator[Problem]:
    # They are slow to import, and a command that looks for the relay does not need them.
    from smtprelay.config.checks import (  # noqa: PLC0415
        CheckedConfig,
        consistency,
        dkim,
        files,
        rewrite,
        secrets,
        security,
    )

    view = CheckedConfig(*parts)
    checks = (*consistency.CHECKS, *security.CHECKS, *dkim.CHECKS, *rewrite.CHECKS)
    outside = (*secrets.CHECKS, *files.CHECKS, *dkim.OUTSIDE_CHECKS)
    for check in checks if alone else (*checks, *outside):
        for found in check(view):
            mark = view.mark(found.path)
            # Where a variable is wrong, no line of the file says which setting it is for.
            where = "" if mark.line or mark.file.startswith(("SMTPRELAY_", "--set ")) else spelled(found.path)
            text = found.text if found.text.startswith(where) else f"{where}: {found.text}"
            yield make_problem(mark, text, found.code, lines, found.severity)


def _find() -> str:
    for place in PLACES:
        try:
            if Path(place).exists():
                return place
        except OSError:
            return place  # reading it says why not
    here, machine = PLACES
    text = (
        "none found: neither -c nor $SMTPRELAY_CONFIG names one, and there is no"
        f" {here} in this folder and no {machine}. Name one with -c FILE, begin one with"
        f" smtprelay config example > {here}, or try the relay without one: smtprelay demo"
    )
    raise ConfigError([make_problem(Mark("configuration"), text, "CFG-NONE", ())])


def _read(file: str) -> bytes:
    try:
        # To open a pipe that nobody writes to would take for ever; one of a shell is /dev/fd/N.
        if Path(file).is_fifo() and not file.startswith(("/dev/", "/proc/")):
            raise ConfigError([make_problem(Mark(file), "is a pipe, not a file", "CFG-NO-FILE", ())])
        with Path(file).open("rb") as opened:
            return opened.read(MAXIMUM_BYTES + 1)
    except FileNotFoundError:
        begin = f"smtprelay config example > {file}"
        text = f"no such file or directory: name another one with -c FILE, or begin it with {begin}"
    except OSError as error:
        why = complaint(Path(file), error).removeprefix(f"{Path(file)}: ")
        text = f"cannot be read: {why}"
    except ValueError as error:
        text = f"cannot be read: {error}"
    raise ConfigError([make_problem(Mark(file), text, "CFG-NO-FILE", ())])
