"""
``smtprelay queue retry``, ``hold``, ``release``, ``delete`` and ``reroute``.

A change needs ids, a filter, or ``--all``. Ids may come on stdin (``-``); if none come, nothing is changed.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import click

from smtprelay.cli import output, queue_view
from smtprelay.cli.client import ApiClient
from smtprelay.cli.exit_codes import FAILED, USAGE, CliError
from smtprelay.cli.options import RelayCommand, chosen, why_option
from smtprelay.cli.selection import MessageIdType, TimeType, filters, selected
from smtprelay.cli.source import API, api, listed
from smtprelay.cli.text import ahead, count, id_in, moment, piped, printable, who

_DONE: Final = {
    "retry": "retried",
    "hold": "held",
    "release": "released",
    "delete": "deleted",
    "reroute": "rerouted",
}
#: What a change did: a ``count``, ``ids``, and how many deliveries are ``left`` for each reason.
ChangeResult = Mapping[str, Any]

#: The most ids, and deliveries that would be changed, that are printed.
_SHOWN: Final = 10


def _changing(command: Callable[..., Any], provider: str = "--provider") -> Callable[..., Any]:
    """Add the options of every change; ``provider`` is the name of that filter."""
    all_mail = "All mail; needed when no id and no filter is given."
    for option in (
        click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
        click.option("--dry-run", is_flag=True, help="Only show what would change."),
        why_option("Recorded in the history of each delivery."),
        click.option("--all", "everything", is_flag=True, help=all_mail),
    ):
        command = option(command)
    ids = click.argument("ids", nargs=-1, metavar="[ID]... | -", type=MessageIdType())
    return ids(filters(command, provider))


@click.command(cls=RelayCommand)
@_changing
@click.option("--at", metavar="WHEN", type=TimeType(1), help="Try at this time: 18:00, 2026-11-24T18:00, 2h.")
@click.option("--in", "at", metavar="SPAN", type=TimeType(1), help="Try after this time: 2h.")
@click.pass_context
def retry(ctx: click.Context, /, *, at: float | None, **given: Any) -> None:
    """Try again now; failed mail starts over."""
    _carry_out(ctx, "retry", given, {} if at is None else {"at": at})


@click.command(cls=RelayCommand)
@_changing
@click.pass_context
def hold(ctx: click.Context, /, **given: Any) -> None:
    """
    Hold mail until it is released.

    This does not hold mail that arrives later: for that use `hold-rules add`.
    """
    _carry_out(ctx, "hold", given, {})


@click.command(cls=RelayCommand)
@_changing
@click.pass_context
def release(ctx: click.Context, /, **given: Any) -> None:
    """Release held mail."""
    _carry_out(ctx, "release", given, {})


@click.command(cls=RelayCommand)
@_changing
@click.option("--bounce", is_flag=True, help="Send the senders a bounce with the reason.")
@click.pass_context
def delete(ctx: click.Context, /, *, bounce: bool, **given: Any) -> None:
    """
    Delete mail for good; without --bounce the sender is not told.

    The message itself is removed, its history stays. Failed mail is deleted if ids or --state failed name it.
    It asks for confirmation on a terminal; a script needs --yes.
    """
    _carry_out(ctx, "delete", given, {"bounce": True} if bounce else {})


@click.command(cls=RelayCommand)
@partial(_changing, provider="--from-provider")
@click.option("--provider", "to", required=True, metavar="NAME", help="The provider to use.")
@click.option("--force", is_flag=True, help="Include mail that may already have been delivered.")
@click.pass_context
def reroute(ctx: click.Context, /, *, to: str, force: bool, **given: Any) -> None:
    """
    Send mail through another provider.

    Held mail goes there when it is released.
    """
    _carry_out(ctx, "reroute", given, {"to": to, "force": force})


COMMANDS: Final = (retry, hold, release, delete, reroute)


def _carry_out(ctx: click.Context, action: str, given: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    dry_run: bool = given["dry_run"]
    if not given["ids"] and not selected(given) and not given["everything"]:
        raise CliError(USAGE, f"say what to {action}: ids, a filter (--state, --from, …), or --all")
    asking = action == "delete" and not given["yes"] and not dry_run
    if asking and not sys.stdin.isatty():
        raise CliError(USAGE, "delete cannot ask without a terminal: give --yes, or first --dry-run")
    ids = _with_stdin(given["ids"])
    if given["ids"] and not ids:
        # No ids came on stdin: that is no mail, not all mail.
        _tell(ctx, action, {"count": 0, "ids": [], "left": {}}, dry_run=dry_run)
        return
    meant = selected(given, ids) | ({"everything": True} if given["everything"] else {})
    change = {**meant, **options, "who": who(), "why": given["why"], "dry_run": dry_run}
    with api(ctx) as relay:
        if asking:
            number = _all_steps(relay, action, {**change, "dry_run": True})["count"]
            click.confirm(f"delete {count(number, 'delivery')} for good?", abort=True, err=True)
        done = _all_steps(relay, action, change)
        shown = done["ids"] and (dry_run or action == "reroute")
        found = listed(relay, {"ids": done["ids"][:_SHOWN]}) if shown else {"deliveries": (), "lanes": ()}
    if ids and not done["count"]:
        why = _left(done) or printable(" ".join(ids[:_SHOWN]))
        raise CliError(FAILED, f"nothing to {action}: {why}")
    _tell(ctx, action, done, dry_run=dry_run, at=options.get("at"))
    if chosen(ctx).output == "table":
        if dry_run and found["deliveries"]:
            queue_view.show_rows(found["deliveries"])
        # Mail that was rerouted to a provider that is blocked or suspended waits there.
        queue_view.show_blocked([lane for lane in found["lanes"] if lane["provider"] == options.get("to")])


def _all_steps(relay: ApiClient, action: str, change: Mapping[str, Any]) -> ChangeResult:
    """Ask for the steps of a change until it is complete."""
    ids: list[str] = []
    left: Counter[str] = Counter()
    number, mark, more = 0, "", True
    while more:
        step = relay.post(f"{API}/queue/{action}", {**change, "mark": mark})
        number, mark, more = number + step["count"], step["mark"], bool(step["mark"])
        ids += step["ids"]
        left.update(step["left"])
    return {"count": number, "ids": ids, "left": dict(left)}


def _with_stdin(ids: Sequence[str]) -> Sequence[str]:
    if "-" not in ids:
        return ids
    read = [id_in(line).split()[0] for line in piped().splitlines() if line.strip()]
    return [*(name for name in ids if name != "-"), *read]


def _tell(
    ctx: click.Context, action: str, done: ChangeResult, *, dry_run: bool, at: float | None = None
) -> None:
    ids = done["ids"]

    def people() -> None:
        verb = f"would {action}" if dry_run else _DONE[action]
        when = ""
        if at is not None:
            verb = "would schedule" if dry_run else "scheduled"
            when = f" for {moment(at)} ({ahead(round(at - time.time()))})"
        names = f": {' '.join(ids[:_SHOWN])}{' …' if len(ids) > _SHOWN else ''}" if ids else ""
        click.echo(f"{verb} {count(done['count'], 'delivery')}{when}{names}")
        if done["left"]:
            click.echo(f"left alone: {_left(done)}")

    data = {"action": action, "dry_run": dry_run, **done}
    output.result(ctx, data, people, rows=({"id": name} for name in ids), ids=ids)


def _left(done: ChangeResult) -> str:
    return ", ".join(f"{number} {printable(why)}" for why, number in done["left"].items())
