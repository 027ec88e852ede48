"""``smtprelay entra-username``: prints the user name by which an application of Microsoft Entra logs in."""

import click

from smtprelay.cli import output
from smtprelay.cli.exit_codes import USAGE, CliError
from smtprelay.cli.options import RelayCommand


@click.command("entra-username", cls=RelayCommand)
@click.argument("tenant")
@click.argument("client")
@click.option("--delimiter", type=click.Choice(["@", ":", "|"]), default="@", help="As the checker has it.")
@click.pass_context
def entra_username(ctx: click.Context, tenant: str, client: str, delimiter: str) -> None:
    """
    Print the user name of an application, in both forms.

    TENANT is the id of the tenant of Microsoft Entra, CLIENT that of the application, in either form. The
    password is the secret of the application.
    """
    from smtprelay.policy.checkers.entra_name import application_names  # noqa: PLC0415 -- as hash-password

    try:
        long, short = application_names(tenant, client, delimiter)
    except ValueError as error:
        raise CliError(USAGE, str(error)) from None
    output.result(ctx, {"username": long, "short": short}, lambda: click.echo(f"{long}\n{short}"))
