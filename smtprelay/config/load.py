"""
From the command line and the environment to a configuration, or to all that is wrong with it.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from smtprelay.config.checks import consistency as check
from smtprelay.config.checks import files, secrets, security
from smtprelay.config.checks.view import View
from smtprelay.config.defaults import complete
from smtprelay.config.env_overlay import SECTIONS, overlay
from smtprelay.config.from_tree import make_converter, structure
from smtprelay.config.model import Config
from smtprelay.config.problem import ConfigError, Problem, make_problem
from smtprelay.config.references import outside_hooks
from smtprelay.config.secret import complaint
from smtprelay.config.tree import Mark, Node, Table, without
from smtprelay.config.yaml_source import MAXIMUM_BYTES, YamlFile, parse

#: Where a configuration is looked for when nobody says where it is.
PLACES: Final = ("smtprelay.yaml", "/etc/smtprelay/smtprelay.yaml")

_CHECKS: Final = (*check.CHECKS, *security.CHECKS)


@frozen
class Loaded:
    """
    A configuration that can be used.

    :ivar warnings: what should be told at each start.
    :ivar file: the file it came from.
    """

    config: Config
    warnings: tuple[Problem, ...]
    file: str


def load(
    path: str | None,
    environ: Mapping[str, str],
    sets: Sequence[str] = (),
    *,
    alone: bool = False,
    only_place: bool = False,
) -> Loaded:
    """
    Return the configuration of a file, of ``environ`` and of ``sets``; the later wins.

    :param path: as given with ``-c``; ``None`` is ``SMTPRELAY_CONFIG``, else the first of :data:`PLACES`.
    :param sets: the values of ``--set``, each ``a.b=c``.
    :param alone: look at the file only, not at the secrets and files it names.
    :param only_place: read only the settings that say where the relay's socket and spool are: a command
        finds its relay while another setting is wrong.

    Raises :class:`ConfigError` with every problem that was found, and nothing else.
    It reads files: not for the reactor's thread while mail flows.
    """
    file = path or environ.get("SMTPRELAY_CONFIG") or _find()
    source = parse(_read(file), file, environ)
    if source.broken:
        raise ConfigError(source.problems)
    problems = [*source.problems, *overlay(source.root, environ, sets)]
    converter = make_converter(outside_hooks(environ, Path(file).absolute().parent))
    config, root, findings = structure(_place(source.root) if only_place else source.root, converter)
    # What was wrong as a word needs no second complaint.
    told = {(problem.line, problem.column) for problem in source.problems}
    new = [found for found in findings if (found.mark.line, found.mark.column) not in told]
    problems += _problems(source, ((found.mark, found.text, found.code, "error") for found in new))
    config = complete(config, environ)
    spoiled = {name for found in findings for name in (found.culprit.where, found.meant)}
    view = View(config, root, source.root, spoiled)
    checks = () if only_place else _CHECKS if alone else (*_CHECKS, *secrets.CHECKS, *files.CHECKS)
    complaints = (complaint for check in checks for complaint in check(view))
    problems += _problems(source, ((view.mark(c.path), c.text, c.code, c.severity) for c in complaints))
    problems.sort(key=lambda problem: (problem.file, problem.line, problem.column))
    if any(problem.severity == "error" for problem in problems):
        raise ConfigError(problems)
    return Loaded(config, tuple(problems), file)


def _place(root: Table) -> Node:
    """Return the settings that say where the relay is; without a spool its listeners are among them."""
    place = {"control_socket", "spool" if isinstance(root.get("spool"), Table) else "listeners"}
    return without(root, {id(node) for key, node in root.items() if key in SECTIONS - place})


def _problems(source: YamlFile, found: Iterable[tuple[Mark, str, str, str]]) -> list[Problem]:
    return [make_problem(mark, text, code, source.lines, severity) for mark, text, code, severity in found]


def _find() -> str:
    for place in PLACES:
        try:
            if Path(place).exists():
                return place
        except OSError:
            return place  # reading it says why not
    text = f"none found: looked at -c, $SMTPRELAY_CONFIG, {', '.join(PLACES)}"
    raise ConfigError([make_problem(Mark("configuration"), text, "CFG-NO-FILE", ())])


def _read(file: str) -> bytes:
    try:
        with Path(file).open("rb") as opened:
            return opened.read(MAXIMUM_BYTES + 1)
    except OSError as error:
        text = f"cannot be read: {complaint(Path(file), error)}"
    except ValueError as error:
        text = f"cannot be read: {error}"
    raise ConfigError([make_problem(Mark(file), text, "CFG-NO-FILE", ())])
