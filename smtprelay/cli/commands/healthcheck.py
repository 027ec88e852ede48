"""
``smtprelay healthcheck``: for container runtimes and init systems.
"""

import http.client
import os

import click

from smtprelay.cli import locate, output
from smtprelay.cli.exit_codes import FAILED, OK, CliError
from smtprelay.cli.options import CliSettings, RelayCommand, chosen
from smtprelay.cli.selection import Timeout
from smtprelay.cli.text import printable

#: The name of each check, and what it means when it passes.
_GOOD = {"/livez": ("live", "the process answers"), "/readyz": ("ready", "the relay accepts mail")}


@click.command(cls=RelayCommand)
@click.option(
    "--live", "path", flag_value="/livez", default="/livez", help="Does the process respond? (default)"
)
@click.option("--ready", "path", flag_value="/readyz", help="Does it accept mail?")
@click.option("--url", default="", metavar="URL", help="Ask here if the control socket does not answer.")
@click.option(
    "--timeout",
    default="5s",
    show_default=True,
    type=Timeout(waits=True),
    metavar="SPAN",
    help="Time limit for each of the two.",
)
@click.pass_context
def healthcheck(ctx: click.Context, *, path: str, url: str, timeout: float) -> int:
    """
    Check the health of the relay.

    One line says what was found. The exit status is 0 if it is healthy, else 1, also if no relay runs.
    """
    ok, text = _ask(chosen(ctx), timeout, path)
    if not ok and url:
        ok, text = _ask(CliSettings(endpoint=url), timeout, path)
    question, _ = _GOOD[path]
    line = f"{question if ok else f'not {question}'}: {printable(text)}"
    output.result(ctx, {"question": question, "ok": ok, "text": text}, lambda: click.echo(line))
    return OK if ok else FAILED


def _ask(settings: CliSettings, timeout: float, path: str) -> tuple[bool, str]:
    try:
        client = locate.client(settings, os.environ, timeout)
        code, content = client.request("GET", path)
    except CliError as error:
        return False, str(error)
    if code == http.client.OK:
        return True, f"{_GOOD[path][1]} ({client.endpoint})"
    lines = content.decode("utf-8", "replace").splitlines()
    failing = [line.removeprefix("[-]") for line in lines if line.startswith("[-]")]
    return False, f"{'; '.join(failing) or f'it answers {code}'} ({client.endpoint})"
