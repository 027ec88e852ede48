"""
``smtprelay queue`` and ``smtprelay history``: list and show the mail in the spool.
"""

import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import click

from smtprelay.cli import output, queue_view
from smtprelay.cli.client import ApiClient
from smtprelay.cli.commands import queue_change
from smtprelay.cli.commands.export import export
from smtprelay.cli.commands.import_ import import_
from smtprelay.cli.options import Group, RelayCommand
from smtprelay.cli.selection import MessageIdType, NumberRange, filters, selected
from smtprelay.cli.source import Filters, api, listed, path_of
from smtprelay.cli.text import who

#: A search that has not found enough is continued this often; each time looks at 100,000 deliveries.
_MOST_SEARCHES = 10

#: The states of finished deliveries.
_FINAL = ("delivered", "failed", "deleted")


@click.group(cls=Group)
def queue() -> None:
    """List and change queued mail."""


_limit = click.option("--limit", default=1000, show_default=True, type=NumberRange(min=1, max=10_000))
_after = click.option("--after", default="", metavar="MARK", help="Continue a list that ended here.")


@queue.command("list")
@click.argument("ids", nargs=-1, type=MessageIdType())
@filters
@click.option("--newest", is_flag=True, help="Newest first.")
@_limit
@_after
@click.option("-v", is_flag=True, hidden=True, expose_value=False)  # mailq's
@click.pass_context
def list_(
    ctx: click.Context, /, *, ids: Sequence[str], newest: bool, limit: int, after: str, **given: Any
) -> None:
    """
    List waiting mail, oldest first.

    --state delivered, --state failed and --state deleted list finished mail, newest first.
    """
    wanted = {**selected(given, ids), "limit": limit} | ({"newest": True} if newest else {})
    finished = set(_FINAL) >= set(wanted.get("states", ("queued",)))
    _list(ctx, wanted, after, finished=finished or bool(ids))


@click.command(cls=RelayCommand)
@filters
@_limit
@_after
@click.pass_context
def history(ctx: click.Context, /, *, limit: int, after: str, **given: Any) -> None:
    """
    List finished mail, newest first.

    Delivered, failed and deleted mail is listed for as long as spool.retention.history keeps it.
    """
    wanted = {"states": list(_FINAL), **selected(given), "newest": True, "limit": limit}
    _list(ctx, wanted, after, finished=True)


@queue.command()
@click.argument("message", metavar="ID", type=MessageIdType())
@click.option("--raw", is_flag=True, help="Print the stored message as it was received.")
@click.option("--headers", is_flag=True, help="Print only its header.")
@click.pass_context
def show(ctx: click.Context, *, message: str, raw: bool, headers: bool) -> None:
    """
    Show one message and its attempts.

    It prints the recipients, every attempt and the provider's answers. --raw prints the message itself, and
    the relay logs who read it.
    """
    with api(ctx) as relay:
        if raw or headers:
            query = urlencode({"part": "headers" if headers else "message", "who": who()})
            for piece in relay.pieces(f"{path_of(message)}/message?{query}"):
                sys.stdout.buffer.write(piece)
            sys.stdout.flush()
            return
        found, running = relay.get(path_of(message)), relay.running
    deliveries = found["deliveries"]
    ids = [delivery["summary"]["id"] for delivery in deliveries]
    output.result(
        ctx, found, lambda: queue_view.show_message(deliveries, running=running), rows=deliveries, ids=ids
    )


def _list(ctx: click.Context, wanted: Filters, after: str, *, finished: bool) -> None:
    with api(ctx) as relay:
        found = _search(relay, wanted, after)
    deliveries = found["deliveries"]
    filtered = bool(after or wanted.keys() - {"limit", "newest"})
    output.result(
        ctx,
        found,
        lambda: queue_view.show_list(found, filtered=filtered, finished=finished),
        rows=deliveries,
        ids=[delivery["id"] for delivery in deliveries],
    )
    if found["partial"]:
        click.echo(
            f"smtprelay: the search is not complete; continue it with --after {found['mark']}", err=True
        )


def _search(relay: ApiClient, wanted: Filters, mark: str) -> dict[str, Any]:
    found = listed(relay, wanted, mark)
    for _ in range(_MOST_SEARCHES - 1):
        if not found["partial"]:
            break
        left = wanted["limit"] - len(found["deliveries"])
        more = listed(relay, {**wanted, "limit": left}, found["mark"])
        found = {**more, "deliveries": [*found["deliveries"], *more["deliveries"]]}
    return found


for command in (*queue_change.COMMANDS, export, import_):
    queue.add_command(command)
