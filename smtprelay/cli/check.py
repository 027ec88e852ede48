"""``smtprelay check-config``: every mistake of a configuration at once, before it is used."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from smtprelay.cli import printing
from smtprelay.cli.exits import CONFIG, OK
from smtprelay.cli.options import Command, Settings, chosen
from smtprelay.cli.words import count

if TYPE_CHECKING:
    from smtprelay.config import Config, Problem


@click.command("check-config", cls=Command)
@click.argument("file", required=False)
@click.pass_context
def check_config(ctx: click.Context, *, file: str | None) -> int:
    """
    Tell every mistake of a configuration.

    That is FILE, or the one that the relay would find. Exit 78 if it is wrong.
    """
    from smtprelay.config import ConfigError, load  # noqa: PLC0415 -- dear, and no other command needs it all

    settings = chosen(ctx)
    try:
        loaded = load(file or settings.config, os.environ, settings.sets)
    except ConfigError as error:
        _tell(settings, error.problems, "")
        return CONFIG
    _tell(settings, loaded.warnings, f"configuration ok: {_summary(loaded.config)}")
    return OK


def _tell(settings: Settings, problems: Sequence["Problem"], verdict: str) -> None:
    from smtprelay.config import render  # noqa: PLC0415

    if settings.output in {"json", "jsonl"}:
        found = [_plain(problem) for problem in problems]
        if settings.output == "json":
            printing.as_json({"ok": bool(verdict), "problems": found})
        else:
            printing.as_lines(found)
        return
    for problem in problems:
        # What is wrong goes where errors go; a warning is part of the answer.
        click.echo(render(problem), err=not verdict)
    if not verdict:
        errors = sum(problem.severity == "error" for problem in problems)
        warnings = len(problems) - errors
        verdict = count(errors, "error") + (f", {count(warnings, 'warning')}" if warnings else "")
        click.echo(f"{verdict}.", err=True)
    else:
        click.echo(verdict)


def _plain(problem: "Problem") -> dict[str, object]:
    names = ("file", "line", "column", "severity", "text", "code")
    return {name: getattr(problem, name) for name in names}


def _summary(config: "Config") -> str:
    nouns = {"listener": config.listeners, "provider": config.providers, "route": config.routes}
    return ", ".join(count(len(things), noun) for noun, things in nouns.items())
