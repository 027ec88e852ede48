"""
The options that every command takes, before its name or after it.

People write ``smtprelay -o json queue list`` and ``smtprelay queue list -o json``
and are right both times: each command and group carries these options, and the
innermost that is given wins. ``--set`` adds up.
"""

import os
import re
import shlex
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

import click
from click.core import ParameterSource

from smtprelay.cli.commands.renamed import renamed
from smtprelay.cli.exit_codes import USAGE, CliError
from smtprelay.program import program

_META: Final = "smtprelay.cli.options"

#: The parameters that name files, which may be called anything.
_FILES: Final = frozenset({"attachments", "body", "file", "password_file", "place", "tls_ca"})


def why_option(help_: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option for the reason of a change."""
    return click.option("--why", "--reason", default="", metavar="TEXT", help=help_)


class CliSettings(NamedTuple):
    """
    What the options and the environment say; a named tuple because attrs costs 30 ms of start-up.

    :ivar config: the configuration file, or ``None`` to look in the usual places.
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
    """Return what was chosen on the command line of ``ctx``."""
    return CliSettings(**ctx.meta.get(_META, {}))


def again(ctx: click.Context) -> str:
    """Return how a command begins that means the same relay: ``smtprelay -c FILE``."""
    settings = chosen(ctx)
    typed = settings.endpoint != os.environ.get("SMTPRELAY_ENDPOINT")
    given = (("-c", settings.config), ("--endpoint", settings.endpoint if typed else ""))
    return " ".join([program(), *(shlex.quote(word) for pair in given if pair[1] for word in pair if word)])


def reaching(text: str) -> str:
    """Return ``text`` with the commands in it as they reach the same relay."""
    command = again(click.get_current_context())
    return re.sub(r"\bsmtprelay (?=drain|providers|queue|refused)", lambda _: f"{command} ", text)


def _remember(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    # A default, or the environment, must not undo what stood before the command's name.
    name = str(option.name)
    known = ctx.meta.setdefault(_META, {})
    given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    if given and name == "sets":
        known[name] = known.get(name, ()) + value
    elif value is not None and (given or name not in known) and value != ():
        known[name] = value


def _global_options() -> list[click.Parameter]:
    def option(*declarations: str, **attributes: Any) -> click.Option:
        return click.Option(declarations, expose_value=False, callback=_remember, **attributes)

    return [
        option("-c", "--config", metavar="FILE", help="The configuration file."),
        option("--set", "sets", multiple=True, metavar="A.B=C", help="Override one setting; repeatable."),
        option(
            "--endpoint",
            metavar="SOCKET|URL",
            envvar="SMTPRELAY_ENDPOINT",
            help="The relay's control socket, or an http:// URL of its API.",
        ),
        option("--token-file", metavar="FILE", help="File with the API token, for a URL."),
        option("-o", "--output", type=click.Choice(["table", "json", "jsonl", "ids"]), help="Output format."),
        option("--color", type=click.Choice(["auto", "always", "never"]), help="When to use colours."),
    ]


def _check_texts(ctx: click.Context) -> None:
    """Complain of an argument that is not UTF-8, unless it names a file."""
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
            left = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            sentence = renamed(ctx.command_path, error.option_name)
            if sentence:
                raise CliError(USAGE, sentence) from error
            raise
        _check_texts(ctx)
        return left


class Group(click.Group):
    """A group with the global options, whose commands have them too."""

    command_class = RelayCommand

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _global_options()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:  # noqa: D102 -- as click's
        if not args:
            # Somebody who looks around; click's versions differ in how they end then.
            click.echo(ctx.get_help(), err=True)
            ctx.exit(USAGE)
        return super().parse_args(ctx, args)

    def resolve_command(  # noqa: D102 -- as click's
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        sentence = renamed(ctx.command_path, args[0])
        if sentence:
            raise CliError(USAGE, sentence)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the source, which begins with what is used most."""
        del ctx
        return list(self.commands)


class LazyGroup(Group):
    """A group that imports a command when it is asked for: ``{name: "module:attribute"}``."""

    def __init__(self, *args: Any, commands_at: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table, which is that of a newcomer's days."""
        del ctx
        return list(self._commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, or return ``None`` for an unknown name."""
        del ctx
        place = self._commands_at.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command
