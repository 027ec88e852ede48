"""
``smtprelay healthcheck``: the silent question of a container runtime or an init system.

Nothing is printed, so that asking every few seconds fills no log; the exit
status is the answer.
"""

import http.client
import os

import click

from smtprelay.cli import place
from smtprelay.cli.exits import FAILED, OK, CliError
from smtprelay.cli.options import Command, Settings, chosen


@click.command(cls=Command)
@click.option(
    "--live", "path", flag_value="/livez", default="/livez", help="Does the process respond? (default)"
)
@click.option("--ready", "path", flag_value="/readyz", help="Does it accept mail?")
@click.option("--url", default="", metavar="URL", help="Ask here if the control socket does not answer.")
@click.option(
    "--timeout", default=5.0, show_default=True, metavar="SECONDS", help="Time limit for each of the two."
)
@click.pass_context
def healthcheck(ctx: click.Context, *, path: str, url: str, timeout: float) -> int:
    """
    Check the health of the relay, without output.

    The exit status is 0 if it is healthy, else 1.
    """
    settings = chosen(ctx)
    if _answers(settings, timeout, path):
        return OK
    return OK if url and _answers(Settings(endpoint=url), timeout, path) else FAILED


def _answers(settings: Settings, timeout: float, path: str) -> bool:
    try:
        code, _ = place.client(settings, os.environ, timeout).request("GET", path)
    except CliError:
        return False
    return code == http.client.OK
