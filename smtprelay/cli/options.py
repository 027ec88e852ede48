"""
The options that every command takes, before its name or after it.

``smtprelay -o json queue list`` and ``smtprelay queue list -o json`` are the same: each command and group has
these options, and the last one that is given wins. ``--set`` adds up.
"""

import os
import re
import shlex
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from typing import Any, Final, NamedTuple

import click
from click.core import ParameterSource, augment_usage_errors

from smtprelay.cli.exit_codes import USAGE, CliError
from smtprelay.program import program

_META: Final = "smtprelay.cli.options"

#: The parameters that name files, which may be called anything.
_FILES: Final = frozenset({"attachments", "body", "file", "password_file", "place", "tls_ca"})


#: Commands that had another name, and the new one. No help shows them.
RENAMED: Final[Mapping[str, str]] = {
    "check-config": "config check",
    "queue redirect": "queue reroute",
    "queue check": "spool check",
    "queue compact": "spool compact",
    "queue hold --for": "hold-rules add",
    "queue holds": "hold-rules list",
    "queue unhold": "hold-rules remove",
    "queue cat": "queue show --raw",
    "providers retry": "providers probe",
}


def why_option(help_: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option for the reason of a change."""
    return click.option("--why", "--reason", default="", metavar="TEXT", help=help_)


class CliSettings(NamedTuple):
    """
    The options that every command takes; a named tuple because attrs costs 30 ms of start-up.

    :ivar config: the configuration file, or ``None`` for the usual places.
    :ivar sets: the ``a.b=c`` of each ``--set``.
    :ivar endpoint: the path of a control socket, or an ``http://`` URL; ``""`` to find it.
    :ivar token_file: holds the bearer token for a URL; ``""`` for none.
    :ivar output: ``table``, ``json``, ``jsonl`` or ``ids``.
    :ivar color: ``auto``, ``always`` or ``never``.
    """

    config: str | None = None
    sets: tuple[str, ...] = ()
    endpoint: str = ""
    token_file: str = ""
    output: str = "table"
    color: str = "auto"


def chosen(ctx: click.Context) -> CliSettings:
    """Return the options that every command takes, as they were given."""
    return CliSettings(**ctx.meta.get(_META, {}))


def again(ctx: click.Context) -> str:
    """Return the beginning of a command for the same relay: ``smtprelay -c FILE``."""
    settings = chosen(ctx)
    typed = settings.endpoint != os.environ.get("SMTPRELAY_ENDPOINT")
    given = (("-c", settings.config), ("--endpoint", settings.endpoint if typed else ""))
    return " ".join([program(), *(shlex.quote(word) for pair in given if pair[1] for word in pair if word)])


def reaching(text: str) -> str:
    """Return ``text`` with the commands in it changed so that they reach the same relay."""
    command = again(click.get_current_context())
    return re.sub(r"\bsmtprelay (?=drain|providers|queue|refused)", lambda _: f"{command} ", text)


def _remember(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    # A default, or the environment, must not replace what was given before the command's name.
    name = str(option.name)
    known = ctx.meta.setdefault(_META, {})
    given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    if given and name == "sets":
        known[name] = known.get(name, ()) + value
    elif value is not None and (given or name not in known) and value != ():
        known[name] = value


def _global_options() -> list[click.Parameter]:
    endpoint = "The relay's control socket, or an http:// URL of its API."
    option = partial(click.Option, expose_value=False, callback=_remember)
    return [
        option(["-c", "--config"], metavar="FILE", help="The configuration file."),
        option(["--set", "sets"], multiple=True, metavar="A.B=C", help="Override one setting; repeatable."),
        option(["--endpoint"], metavar="SOCKET|URL", envvar="SMTPRELAY_ENDPOINT", help=endpoint),
        option(["--token-file"], metavar="FILE", help="File with the API token, for a URL."),
        option(
            ["-o", "--output"], type=click.Choice(["table", "json", "jsonl", "ids"]), help="Output format."
        ),
        option(["--color"], type=click.Choice(["auto", "always", "never"]), help="When to use colours."),
    ]


def _expect_utf8(ctx: click.Context) -> None:
    """Refuse an argument that is not UTF-8, unless it names a file."""
    for parameter in ctx.command.params:
        value = ctx.params.get(str(parameter.name))
        for text in value if isinstance(value, tuple) else (value,):
            octets = os.fsencode(text) if isinstance(text, str) and parameter.name not in _FILES else b""
            try:
                octets.decode()
            except UnicodeDecodeError:
                shown = octets.decode("ascii", "backslashreplace")
                raise CliError(USAGE, f"{parameter.get_error_hint(ctx)}: {shown} is not UTF-8") from None


class RelayCommand(click.Command):
    """A command with the global options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _global_options()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:  # noqa: D102 -- as click's
        try:
            with augment_usage_errors(ctx):
                left = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            _refuse_old_name(ctx, error.option_name)
            raise
        _expect_utf8(ctx)
        return left


class Group(click.Group):
    """
    A group with the global options, whose commands have them too.

    :param commands_at: commands that are imported when they are asked for: ``{name: "module:attribute"}``.
    """

    command_class = RelayCommand

    def __init__(self, *args: Any, commands_at: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _global_options()
        self._commands_at = commands_at or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:  # noqa: D102 -- as click's
        if not args:
            # click's versions differ in how they end here.
            click.echo(ctx.get_help(), err=True)
            ctx.exit(USAGE)
        with augment_usage_errors(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(  # noqa: D102 -- as click's
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        _refuse_old_name(ctx, args[0])
        if args[0][:1] != "-" and self.get_command(ctx, args[0]) is None:
            close = get_close_matches(args[0], self.list_commands(ctx), n=1)
            ctx.fail(f"No such command '{args[0]}'{''.join(f': did you mean {name!r}?' for name in close)}")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the source: what is used most comes first."""
        del ctx
        return [*self._commands_at, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, ``None`` for an unknown name."""
        module, _, attribute = self._commands_at.get(cmd_name, "").partition(":")
        if not module:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(import_module(module), attribute)
        return command


def _refuse_old_name(ctx: click.Context, word: str) -> None:
    old = f"{ctx.command_path} {word}".partition(" ")[2]
    if old in RENAMED:
        raise CliError(USAGE, f'"{old}" is now called "{RENAMED[old]}"')
