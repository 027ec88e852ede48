"""
``smtprelay reload``: the running relay continues with the configuration as its file is now.
"""

from collections.abc import Mapping
from typing import Any

import click

from smtprelay.cli import output
from smtprelay.cli.exit_codes import OK
from smtprelay.cli.options import RelayCommand
from smtprelay.cli.source import API, running
from smtprelay.cli.text import who


@click.command(cls=RelayCommand)
@click.pass_context
def reload(ctx: click.Context) -> int:
    """
    Read the configuration again and put it into force.

    A transaction that has begun ends by the old rules. Only sessions of a listener that is removed are ended,
    unless they are sending a message. Errors in the file are shown, and the relay continues as it was.
    """
    told = running(ctx).post(f"{API}/reload", {"who": who()})
    output.result(ctx, told, lambda: _show(told))
    return OK


def _show(told: Mapping[str, Any]) -> None:
    for change in told["changes"]:
        click.echo(change["text"])
    for key in told["restart"]:
        click.echo(f"{key}: changes when the relay is restarted")
    if not told["changes"] and not told["restart"]:
        click.echo("nothing has changed")
