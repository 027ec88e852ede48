"""
The tree of commands, each imported when it is asked for.

A command returns its exit status, or ``None`` for 0; an error of usage, of the system or of ours is raised as
:class:`smtprelay.cli.exit_codes.CliError`.
"""

import errno
import sys
from collections.abc import Sequence

import click

from smtprelay.cli import output
from smtprelay.cli.exit_codes import EX_USAGE, FAILED, OK, PERMISSION, SOFTWARE, USAGE, CliError
from smtprelay.cli.options import Group, RelayCommand
from smtprelay.telemetry.crash_report import unexpected
from smtprelay.version import VERSION

root = Group(
    "smtprelay",
    help="Accepts mail over SMTP, stores it, and delivers it through a provider's HTTP API or by SMTP.",
    commands_at={
        "run": "smtprelay.cli.commands.run:run",
        "demo": "smtprelay.cli.commands.run:demo",
        "config": "smtprelay.cli.commands.config:config",
        "entra-username": "smtprelay.cli.commands.entra_name:entra_username",
        "hash-password": "smtprelay.cli.commands.hash_password:hash_password",
        "dkim": "smtprelay.cli.commands.dkim:dkim",
        "send": "smtprelay.cli.commands.send:send",
        "sendmail": "smtprelay.cli.commands.sendmail:sendmail",
        "mailq": "smtprelay.cli.commands.queue:list_",
        "queue": "smtprelay.cli.commands.queue:queue",
        "history": "smtprelay.cli.commands.queue:history",
        "refused": "smtprelay.cli.commands.refused:refused",
        "hold-rules": "smtprelay.cli.commands.hold_rules:hold_rules",
        "providers": "smtprelay.cli.commands.providers:providers",
        "spool": "smtprelay.cli.commands.spool:spool",
        "status": "smtprelay.cli.commands.status:status",
        "reload": "smtprelay.cli.commands.reload:reload",
        "drain": "smtprelay.cli.commands.drain:drain",
        "healthcheck": "smtprelay.cli.commands.healthcheck:healthcheck",
        "version": "smtprelay.cli.app:version",
    },
)
click.version_option(VERSION, message="smtprelay %(version)s")(root)


@click.command(cls=RelayCommand)
@click.pass_context
def version(ctx: click.Context) -> None:
    """Print the version."""
    output.result(ctx, {"version": VERSION}, lambda: click.echo(f"smtprelay {VERSION}"))


def invoke(argv: Sequence[str] | None) -> int:
    """
    Carry out one command line and return its exit status.

    Raises :class:`CliError`; ``BrokenPipeError`` passes. An unexpected error becomes a sentence that names
    the file with its traceback; ``python -X dev`` shows the traceback instead.
    """
    try:
        status = root.main(argv, prog_name="smtprelay", standalone_mode=False)
    except (CliError, BrokenPipeError):
        raise
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "smtprelay"
        status = EX_USAGE if path.endswith(" sendmail") else USAGE
        raise CliError(status, f"{error.format_message()} (see {path} --help)") from error
    except click.ClickException as error:
        raise CliError(FAILED, error.format_message()) from error
    except click.Abort as error:
        raise CliError(FAILED, "aborted") from error
    except OSError as error:
        denied = error.errno in {errno.EACCES, errno.EPERM}
        sentence = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        raise CliError(PERMISSION if denied else FAILED, sentence) from error
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        raise CliError(SOFTWARE, unexpected(error)) from error
    return status if isinstance(status, int) else OK
