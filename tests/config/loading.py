"""Loading a configuration from a text, for the tests of its parts."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from smtprelay.config import ConfigError, Loaded, Problem, load

#: What every configuration needs; tests add to it.
SMALL = """\
listeners: [{name: lan, endpoint: "tcp:2525:interface=127.0.0.1"}]
providers: {local: {type: capture, path: captured}}
spool: {path: spool}
"""

#: Of a password that nobody knows.
HASH = "$scrypt$ln=15,r=8,p=1$c2FsdHNhbHRzYWx0c2FsdA==$cSU1qI1mD0cmzGzCkZk1nQ=="


def load_text(
    text: str | bytes, environ: Mapping[str, str] | None = None, sets: Sequence[str] = ()
) -> Loaded:
    """Load ``text`` from a file called smtprelay.yaml in a folder of its own."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "smtprelay.yaml")
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return load(str(file), environ or {}, sets)


def problems_of(
    text: str | bytes, environ: Mapping[str, str] | None = None, sets: Sequence[str] = ()
) -> list[Problem]:
    """Return the problems of ``text``, warnings too; empty if there are none."""
    try:
        return list(load_text(text, environ, sets).warnings)
    except ConfigError as error:
        return list(error.problems)


def with_provider(settings: str) -> str:
    """Return :data:`SMALL` with one more provider, called ``more``, that takes everything."""
    return SMALL.replace("captured}", f"captured}}, more: {{{settings}}}") + "routes: [{via: [more]}]\n"


def uncommented(example: str) -> str:
    """Return the part of the example with every setting, without its comment signs."""
    _, after = example.split("## Every setting")
    return "\n".join(re.sub("^##.*", "", line).removeprefix("#") for line in after.splitlines()[1:]) + "\n"


def told(problems: Sequence[Problem]) -> list[str]:
    """Return each problem as ``line:column code text``."""
    return [f"{p.line}:{p.column} {p.code} {p.text}" for p in problems]


def codes(problems: Sequence[Problem]) -> list[str]:
    """Return the code of each problem, ``code?`` for a warning."""
    return [p.code + ("?" if p.severity == "warning" else "") for p in problems]
