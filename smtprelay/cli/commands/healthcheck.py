"""
``smtprelay healthcheck``: the question of a container runtime or an init system.

The exit status is the answer; one line says what was found, for whoever looks at why.
"""

import http.client
import os
from typing import NamedTuple

import click

from smtprelay.cli import locate, output
from smtprelay.cli.exit_codes import FAILED, OK, CliError
from smtprelay.cli.options import CliSettings, RelayCommand, chosen
from smtprelay.cli.text import printable

#: What each question is, and what its good answer means.
_GOOD = {"/livez": ("live", "the process answers"), "/readyz": ("ready", "the relay accepts mail")}


class _Probed(NamedTuple):
    ok: bool
    text: str


@click.command(cls=RelayCommand)
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
    Check the health of the relay.

    One line says what was found. The exit status is 0 if it is healthy, else 1.
    """
    found = _ask(chosen(ctx), timeout, path)
    if not found.ok and url:
        found = _ask(CliSettings(endpoint=url), timeout, path)
    question, _ = _GOOD[path]
    told = f"{question if found.ok else f'not {question}'}: {printable(found.text)}"
    output.result(ctx, {"question": question, **found._asdict()}, lambda: click.echo(told))
    return OK if found.ok else FAILED


def _ask(settings: CliSettings, timeout: float, path: str) -> _Probed:
    try:
        client = locate.client(settings, os.environ, timeout)
        code, content = client.request("GET", path)
    except CliError as error:
        return _Probed(ok=False, text=str(error))
    if code == http.client.OK:
        return _Probed(ok=True, text=f"{_GOOD[path][1]} ({client.endpoint})")
    lines = content.decode("utf-8", "replace").splitlines()
    failing = [line.removeprefix("[-]") for line in lines if line.startswith("[-]")]
    return _Probed(ok=False, text=f"{'; '.join(failing) or f'it answers {code}'} ({client.endpoint})")
