"""
``smtprelay drain``: takes a relay out of service without stopping it, before an update or a scale-down.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

import click

from smtprelay.cli import output
from smtprelay.cli.client import ApiClient
from smtprelay.cli.exit_codes import OK, TEMPFAIL, CliError
from smtprelay.cli.options import RelayCommand
from smtprelay.cli.selection import Timeout
from smtprelay.cli.source import API, running
from smtprelay.cli.text import count, span, who

_DRAIN: Final = f"{API}/drain"

#: Seconds between two questions.
_AGAIN: Final = 0.5


@click.command(cls=RelayCommand)
@click.option("--wait", is_flag=True, help="Return when all sessions and attempts have ended.")
@click.option(
    "--timeout", type=Timeout(), metavar="SPAN", help="Stop waiting after this time, with exit status 75: 5m."
)
@click.option("--undo", is_flag=True, help="Accept and deliver mail again.")
@click.pass_context
def drain(ctx: click.Context, *, wait: bool, timeout: float | None, undo: bool) -> int:
    """
    Accept no new mail and finish running deliveries.

    Until `drain --undo` or its next start the relay answers 421 and is not ready. Waiting mail in a spool
    that several nodes share is delivered by the others; in the spool of a single node it stays.
    """
    client = running(ctx)
    state = client.post(_DRAIN, {"undo": undo, "who": who()})
    if wait and not undo:
        state = _wait(client, state, timeout)
    output.result(ctx, state, lambda: click.echo(_sentence(state)))
    return OK


def _wait(client: ApiClient, state: Mapping[str, Any], timeout: float | None) -> Mapping[str, Any]:
    began = time.monotonic()
    while state["sessions"] or state["attempts"]:
        waited = time.monotonic() - began
        if timeout is not None and waited >= timeout:
            raise CliError(TEMPFAIL, f"after {span(waited)} still {_sentence(state)}")
        time.sleep(_AGAIN)
        state = client.get(_DRAIN)
        if not state["draining"]:
            raise CliError(
                TEMPFAIL, "the drain was undone by another command: smtprelay drain starts it again"
            )
    return state


def _sentence(state: Mapping[str, Any]) -> str:
    if not state["draining"]:
        return "not draining: mail is accepted and delivered"
    nouns = {"sessions": "session", "attempts": "attempt"}
    under_way = " and ".join(count(state[name], noun) for name, noun in nouns.items() if state[name])
    now = f"draining: {under_way} under way" if under_way else "drained: nothing is under way"
    if not state["waiting"]:
        return now
    whose = "for the other nodes" if state["shared"] else "of this node, where they stay until drain --undo"
    return f"{now}; {count(state['waiting'], 'delivery')} in the spool {whose}"
