"""``smtprelay config``: checks a configuration before it is used, and explains settings."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from smtprelay.cli import output
from smtprelay.cli.exit_codes import CONFIG, FAILED, OK, TEMPFAIL, CliError
from smtprelay.cli.network import name_server, nameserver_option, run_reactor
from smtprelay.cli.options import Group, chosen
from smtprelay.cli.text import count, printable

if TYPE_CHECKING:
    from smtprelay.cli.options import CliSettings
    from smtprelay.config import Config, Explained, Loaded, Problem
    from smtprelay.interfaces.online import OnlineFinding

_WIDTH = 100


@click.group(cls=Group)
def config() -> None:
    """Check, show and explain the configuration."""


@config.command()
@click.argument("file", required=False)
@click.option(
    "--online",
    is_flag=True,
    help="Also ask the providers and DNS whether mail will leave and be believed; no mail is sent.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="With --online: how long each question waits for its answer.",
)
@nameserver_option
@click.pass_context
def check(
    ctx: click.Context, *, file: str | None, online: bool, timeout: float, nameserver: str | None
) -> int:
    """
    Report every error in a configuration.

    It checks FILE, or the file that the relay would use. The exit status is 78 if there are errors.

    With --online it is also 78 if a provider refuses us or a record in DNS is wrong, and 75 if only answers
    are missing.
    """
    server = name_server(nameserver)
    loaded = _load(ctx, file)
    if loaded is None:
        return CONFIG
    nouns = ("listener", "provider", "route")
    summary = ", ".join(count(len(getattr(loaded.config, f"{noun}s")), noun) for noun in nouns)
    found = _online_findings(loaded.config, timeout, server) if online else ()
    _tell(ctx, loaded.warnings, f"configuration ok: {summary}", found)
    severities = {each.severity for each in found}
    return CONFIG if "error" in severities else TEMPFAIL if "unknown" in severities else OK


@config.command()
def example() -> None:
    """Print a commented configuration with every setting."""
    from smtprelay.config import example as text  # noqa: PLC0415

    click.echo(text(), nl=False)


@config.command()
@click.argument("file", required=False)
@click.option("--sources", "with_sources", is_flag=True, help="Tell where each value comes from.")
@click.pass_context
def show(ctx: click.Context, *, file: str | None, with_sources: bool) -> int:
    """
    Print the effective configuration.

    It reads FILE, or the file that the relay would use, and adds --set, the environment and all defaults.
    Of a secret it shows only where it is stored. Where workers have no spool to share, it adds the share of
    each worker in what the providers allow.

    With --sources it is a list of single values, each with the line of the file, the variable or the option
    that it comes from, or "default".
    """
    import yaml  # noqa: PLC0415

    from smtprelay.config import effective, shares, sources  # noqa: PLC0415

    loaded = _load(ctx, file, alone=True)
    if loaded is None:
        return CONFIG
    shown = effective(loaded.config)
    if with_sources:
        names = ("setting", "value", "source")
        values = [dict(zip(names, row, strict=True)) for row in sources(loaded, os.environ)]
        rows = [(row["setting"], _word(row["value"]), row["source"]) for row in values]
        output.result(ctx, values, lambda: output.table(names, rows), rows=values)
        return OK
    text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=_WIDTH)
    divided = shares(loaded.config)
    text += "".join(f"# {line}\n" for line in _shared(divided))
    output.result(ctx, {**shown, "shares": divided} if divided else shown, lambda: click.echo(text, nl=False))
    return OK


@config.command()
@click.argument("key")
@click.pass_context
def explain(ctx: click.Context, *, key: str) -> None:
    """
    Explain one setting, and tell its value in the configuration that the relay would use.

    KEY is its full name: spool.limit, listeners.0.auth, providers.NAME.rate. Without a provider of that name
    it may be a type: providers.ses.rate.
    """
    from smtprelay.config import ConfigError, read_tree  # noqa: PLC0415
    from smtprelay.config import explain as look_up  # noqa: PLC0415

    settings = chosen(ctx)
    try:
        root = read_tree(settings.config, os.environ, settings.sets)
        found = look_up(key, root)
    except ConfigError as error:
        raise CliError(CONFIG, f"{error.problems[0]} (smtprelay config check shows all)") from error
    except LookupError as error:
        raise CliError(FAILED, str(error)) from error
    told = [_told(each, _in_force(settings, each)) for each in found]
    more = {"variants": told[1:]} if told[1:] else {}
    output.result(ctx, told[0] | more, lambda: _explain(found, told), rows=told)


@config.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from smtprelay.config import json_schema  # noqa: PLC0415

    output.as_json(json_schema())


def _load(ctx: click.Context, file: str | None, *, alone: bool = False) -> "Loaded | None":
    """Load a configuration; ``None`` if it has errors, which are printed."""
    from smtprelay.config import ConfigError, load  # noqa: PLC0415 -- slow to import

    settings = chosen(ctx)
    try:
        return load(file or settings.config, os.environ, settings.sets, alone=alone)
    except ConfigError as error:
        _tell(ctx, error.problems, "")
        return None


def _online_findings(
    config: "Config", timeout: float, server: tuple[str, int] | None
) -> "Sequence[OnlineFinding]":
    async def ask(reactor: Any) -> "Sequence[OnlineFinding]":
        from smtprelay.net.dns_records import make_resolver  # noqa: PLC0415 -- slow to import, as is the other
        from smtprelay.service.online_check import OnlineChecker  # noqa: PLC0415

        return await OnlineChecker(config, reactor, make_resolver(reactor, server), timeout).findings()

    return run_reactor(ask)


def _in_force(settings: "CliSettings", found: "Explained") -> Sequence[tuple[str, Any, str]]:
    """Return the values that a setting has, with their names and sources; none of a section."""
    from smtprelay.config import ConfigError, load, sources  # noqa: PLC0415

    if found.place is None or found.classes:
        return ()
    try:
        loaded = load(settings.config, os.environ, settings.sets, alone=True)
    except ConfigError:
        text = "no value is shown: the configuration has errors (smtprelay config check shows them)"
        click.echo(f"smtprelay: {text}", err=True)
        return ()
    return list(sources(loaded, os.environ, found.place))


def _told(found: "Explained", rows: Sequence[tuple[str, Any, str]]) -> dict[str, Any]:
    """Return what is known of a setting, as JSON has it; ``rows`` are its values and their sources."""
    names = ("type", "unit", "instead_of", "required", "default", "default_words", "example")
    entries = found.setting.has_entries and not found.is_entry and bool(found.place)
    value: Any = next((value for _, value, _ in rows), None)
    if entries and rows and rows[0][0] != found.key:
        keyed = {name.removeprefix(found.key).lstrip("."): value for name, value, _ in rows}
        value = list(keyed.values()) if "[0]" in keyed else keyed
    return {
        "key": found.key,
        "help": found.help,
        **{name: getattr(found.setting, name) for name in names},
        "value": value,
        "source": ", ".join(dict.fromkeys(source for _, _, source in rows)),
        "variable": found.variable,
        "option": found.option,
        "keys": {name: each.help for name, each in found.keys.items()} | dict(found.types),
    }


def _explain(found: Sequence["Explained"], told: Sequence[Mapping[str, Any]]) -> None:
    for each, data in zip(found, told, strict=True):
        click.echo(f"{each.key}{f' ({each.type_words})' if each.type_words else ''}")
        known = {} if each.is_entry and each.classes else _facts(each, data)
        lines = [each.help, *(f"{name:<10} {text}" for name, text in known.items() if text)]
        for name, setting in each.keys.items():
            default = setting.default_text
            more = "Required." if setting.required else f"Default: {default}." if default else ""
            lines.append(f"{name}: {setting.help} {more}".rstrip())
        lines += [f"type {name}: {text}" for name, text in each.types.items()]
        click.echo("".join(f"  {line}\n" for line in lines if line), nl=False)


def _facts(found: "Explained", told: Mapping[str, Any]) -> Mapping[str, str]:
    setting = found.setting
    return {
        "type": setting.type,
        "unit": setting.unit,
        "instead of": setting.instead_of,
        "default": setting.default_text,
        "example": setting.example,
        "value": _word(told["value"]) if told["source"] else "",
        "source": told["source"],
        "variable": found.variable,
        "option": f"--set {found.option}=…" if found.option else "",
        "only in": "the file: a name with a dot is none for a variable or --set"
        if setting.only_in_file and not found.classes
        else "",
        "in a file": ", ".join(found.spellings_of_places),
    }


def _shared(divided: Mapping[str, Any]) -> Iterator[str]:
    """Give the lines about what each worker has of the providers."""
    if divided:
        yield "The share of each worker, as there is no spool that counts for all of them:"
    for name, share in divided.items():
        parts = [f"concurrency {' + '.join(map(str, share['concurrency']))}"]
        parts += [f"rate {rate} each" for rate in share["rate"]]
        yield f"providers.{name}: {', '.join(parts)}"


def _word(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_word(each)}' for key, each in value.items())}}}"
    return f"[{', '.join(map(_word, value))}]" if isinstance(value, list) else str(value)


def _tell(
    ctx: click.Context, problems: Sequence["Problem"], verdict: str, online: "Sequence[OnlineFinding]" = ()
) -> None:
    """Print what is wrong; ``verdict`` is ``""`` if the configuration has errors."""
    names = ("file", "line", "column", "severity", "text", "code")
    found = [{name: getattr(problem, name) for name in names} for problem in problems]
    asked = [
        {name: getattr(each, name) for name in ("about", "check", "severity", "text")} for each in online
    ]
    ok = bool(verdict) and not any(each.severity in {"error", "unknown"} for each in online)
    data = {"ok": ok, "problems": found, **({"online": asked} if asked else {})}
    output.result(ctx, data, lambda: _render(problems, verdict, online), rows=[*found, *asked])


def _render(problems: Sequence["Problem"], verdict: str, online: "Sequence[OnlineFinding]") -> None:
    from smtprelay.config import render  # noqa: PLC0415

    for problem in problems:
        # Errors go to stderr; warnings are part of the answer.
        click.echo(render(problem), err=not verdict)
    if not verdict:
        errors = sum(problem.severity == "error" for problem in problems)
        warnings = len(problems) - errors
        verdict = count(errors, "error") + (f", {count(warnings, 'warning')}" if warnings else "")
        click.echo(f"{verdict}.", err=True)
    else:
        click.echo(verdict)
    for each in online:
        click.echo(printable(str(each)))
