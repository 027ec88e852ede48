"""``smtprelay hash-password``: prints the hash of a password for the configuration."""

import getpass
import secrets
import sys

import click

from smtprelay.cli import output
from smtprelay.cli.exit_codes import USAGE, CliError
from smtprelay.cli.options import RelayCommand
from smtprelay.cli.text import piped

_SALT = 16


@click.command("hash-password", cls=RelayCommand)
@click.option("--scram", is_flag=True, help="Make a hash for SCRAM, too; for users, not for tokens.")
@click.pass_context
def hash_password(ctx: click.Context, scram: bool) -> None:
    """
    Hash a password for users and tokens.

    The password is asked for twice, or read as one line from stdin.
    """
    from smtprelay.policy import password_hash, user_secret  # noqa: PLC0415 -- no other command needs them

    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != password:
            raise CliError(USAGE, "the two passwords differ: run the command again")
    else:
        password = piped(line=True).rstrip("\r\n")
    if not password:
        raise CliError(USAGE, "the password is empty: type it, or send it as one line to stdin")
    hashes = user_secret.hash_for_scram if scram else password_hash.hash_password
    hashed = hashes(password.encode(), secrets.token_bytes(_SALT))
    output.result(ctx, {"hash": hashed}, lambda: click.echo(hashed))
