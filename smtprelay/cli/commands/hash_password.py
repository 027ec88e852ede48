"""``smtprelay hash-password``: what stands in the configuration instead of a password."""

import getpass
import secrets
import sys

import click

from smtprelay.cli import output
from smtprelay.cli.exit_codes import USAGE, CliError
from smtprelay.cli.options import RelayCommand
from smtprelay.cli.reading import piped

_SALT = 16


@click.command("hash-password", cls=RelayCommand)
@click.pass_context
def hash_password(ctx: click.Context) -> None:
    """
    Hash a password for users and tokens.

    The password is asked for twice, or read as one line from stdin.
    """
    from smtprelay.policy import password_hash  # noqa: PLC0415 -- no other command needs it

    password = _asked() if sys.stdin.isatty() else piped(line=True).rstrip("\r\n")
    if not password:
        raise CliError(USAGE, "the password is empty: type one, or give it as one line on stdin")
    hashed = password_hash.hash_password(password.encode(), secrets.token_bytes(_SALT))
    output.result(ctx, {"hash": hashed}, lambda: click.echo(hashed))


def _asked() -> str:
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise CliError(USAGE, "the two passwords differ: start again")
    return password
