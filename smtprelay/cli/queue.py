"""
``smtprelay queue``: what waits in the relay, and an operator's hand on it.

A change needs to know what it means: ids, a filter, or ``--all``. Ids may come on
stdin (``-``), and none of them there means that nothing is changed.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from smtprelay.cli import listing, printing, timeline
from smtprelay.cli.exits import FAILED, USAGE, CliError
from smtprelay.cli.exporting import export
from smtprelay.cli.importing import import_
from smtprelay.cli.options import Group, Settings, chosen
from smtprelay.cli.soundness import check, compact
from smtprelay.cli.source import Change, Filters, opened
from smtprelay.cli.who import who
from smtprelay.cli.words import count, printable

_STATES = ("queued", "active", "deferred", "held", "delivered", "failed")
_DONE = {"retry": "retried", "hold": "held", "release": "released", "delete": "deleted"}
#: How many ids a person is told, and a limit that is none: a change means all that match.
_SHOWN = 10
_EVERY = 10_000_000


@click.group(cls=Group)
def queue() -> None:
    """See and change what waits."""


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--provider", default="", metavar="NAME", help="Only what goes to this provider."),
        click.option("--to", "recipient", default="", metavar="ADDRESS", help="Only to this recipient."),
        click.option("--from", "sender", default="", metavar="ADDRESS", help="Only from this sender."),
        click.option("--state", "states", multiple=True, type=click.Choice(_STATES), help="Repeatable."),
    ):
        command = option(command)
    return command


def _selection(given: Mapping[str, Any], ids: Sequence[str], limit: int = _EVERY) -> Filters:
    return Filters(
        ids=ids,
        states=given["states"],
        sender=given["sender"],
        recipient=given["recipient"],
        provider=given["provider"],
        everything=given.get("everything", False),
        limit=limit,
    )


@queue.command("list")
@click.argument("ids", nargs=-1)
@_filters
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(min=1), help="The oldest ones.")
@click.pass_context
def list_(ctx: click.Context, /, *, ids: Sequence[str], limit: int, **given: Any) -> None:
    """
    List what waits, the oldest first.

    --state delivered and --state failed show what is over.
    """
    settings = chosen(ctx)
    with opened(settings) as source:
        found = source.list(_selection(given, ids, limit))
    _print(settings, found, lambda: listing.show(found, settings.color))


@queue.command()
@click.argument("message", metavar="ID")
@click.pass_context
def show(ctx: click.Context, *, message: str) -> None:
    """
    Show where one message is.

    Its recipients, every attempt, and what the provider said.
    """
    settings = chosen(ctx)
    with opened(settings) as source:
        found = source.show(message)
    _print(settings, found, lambda: timeline.show(found["deliveries"]))


def _print(settings: Settings, found: dict[str, Any], for_people: Callable[[], None]) -> None:
    if settings.output == "json":
        printing.as_json(found)
    elif settings.output == "jsonl":
        printing.as_lines(found["deliveries"])
    elif settings.output == "ids":
        for delivery in found["deliveries"]:
            click.echo(delivery.get("summary", delivery)["id"])
    else:
        for_people()


def _edit(action: str, meaning: str) -> None:
    @queue.command(action, help=meaning)
    @click.argument("ids", nargs=-1, metavar="[ID]... | -")
    @_filters
    @click.option("--all", "everything", is_flag=True, help="Needed when there is no id and no filter.")
    @click.option("--why", default="", metavar="TEXT", help="Recorded with each delivery.")
    @click.option("--dry-run", is_flag=True, help="Only say what would be changed.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @click.pass_context
    def edit(
        ctx: click.Context, /, *, ids: Sequence[str], why: str, dry_run: bool, yes: bool, **given: Any
    ) -> None:
        settings = chosen(ctx)
        if not ids and not any(given.values()):
            raise CliError(USAGE, f"say what to {action}: ids, a filter (--state, --from, …), or --all")
        wanted = _from_stdin(ids)
        if ids and not wanted:
            # Nothing came on stdin: that is nothing, not everything.
            _tell(settings, action, [], dry_run)
            return
        filters = _selection(given, wanted)
        change = Change(action=action, who=who(), why=why, dry_run=dry_run)
        with opened(settings) as source:
            if action == "delete" and not yes and not dry_run and sys.stdin.isatty():
                meant = source.edit(filters, {**change, "dry_run": True})
                click.confirm(f"delete {count(len(meant), 'delivery')} for good?", abort=True, err=True)
            changed = source.edit(filters, change)
        if wanted and not changed:
            raise CliError(FAILED, f"nothing to {action}: {printable(' '.join(wanted[:_SHOWN]))}")
        _tell(settings, action, changed, dry_run)


def _from_stdin(ids: Sequence[str]) -> Sequence[str]:
    if "-" not in ids:
        return ids
    read = [line.split()[0] for line in sys.stdin if line.strip()]
    return [*(name for name in ids if name != "-"), *read]


def _tell(settings: Settings, action: str, ids: Sequence[str], dry_run: bool) -> None:
    if settings.output == "json":
        printing.as_json({"action": action, "dry_run": dry_run, "ids": list(ids)})
    elif settings.output in {"jsonl", "ids"}:
        for name in ids:
            click.echo(name)
    else:
        verb = f"would {action}" if dry_run else _DONE[action]
        names = f": {' '.join(ids[:_SHOWN])}{' …' if len(ids) > _SHOWN else ''}" if ids else ""
        click.echo(f"{verb} {count(len(ids), 'delivery')}{names}")


_edit("retry", "Try again now; what failed for good starts over.")
_edit("hold", "Keep back until it is released.")
_edit("release", "Let go what was held.")
_edit("delete", "Remove for good, without a bounce.")
for _command in (export, import_, check, compact):
    queue.add_command(_command)
