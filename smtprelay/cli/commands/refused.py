"""
``smtprelay refused``: what clients were refused, each with the setting that would allow it.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from smtprelay.cli import output
from smtprelay.cli.exit_codes import USAGE, CliError
from smtprelay.cli.options import RelayCommand
from smtprelay.cli.selection import NumberRange, TimeType
from smtprelay.cli.source import API, api
from smtprelay.cli.text import clock, count, printable, span, who


@click.command(cls=RelayCommand)
@click.option("--client", metavar="ADDRESS", help="Only of this client; * is anything.")
@click.option("--user", metavar="NAME", help="Only of this user; * is anything.")
@click.option("--rule", metavar="RULE", help="Only by this rule; * is anything.")
@click.option(
    "--since", metavar="WHEN", type=TimeType(-1), help="Refused at or after: 2h (ago), 14:30, 2026-11-24."
)
@click.option("--limit", metavar="COUNT", type=NumberRange(min=1), help="Only the last ones.")
@click.option("--clear", is_flag=True, help="Forget these rows.")
@click.option("--all", "everything", is_flag=True, help="Clear all rows; needed when no filter is given.")
@click.pass_context
def refused(ctx: click.Context, /, *, clear: bool, everything: bool, limit: int | None, **given: Any) -> None:
    """
    Show what clients were refused.

    Equal refusals are one row with a count. Each row names the setting that would allow it, or what the
    client must do.
    """
    filters = {name: value for name, value in given.items() if value not in (None, "")}
    if everything and not clear:
        raise CliError(USAGE, "--all is for --clear: without it, all rows are shown")
    if clear and limit is not None:
        raise CliError(USAGE, "--clear takes no --limit: the rows that a filter means are cleared")
    if clear and everything == bool(filters):
        raise CliError(USAGE, "say what to clear: a filter (--client, --rule, …), or --all")
    with api(ctx) as relay:
        if clear:
            done = relay.post(f"{API}/refused/clear", {**filters, "everything": everything, "who": who()})
            text = f"{count(done['count'], 'row')} of refused mail cleared"
            output.result(ctx, done, lambda: click.echo(text))
            return
        found = relay.get(f"{API}/refused", filters if limit is None else {**filters, "limit": f"{limit}"})
    rows = found["refused"]
    output.result(
        ctx, found, lambda: _show(rows, "Nothing found." if filters else "Nothing was refused."), rows=rows
    )


def _show(rows: Sequence[Mapping[str, Any]], nothing: str) -> None:
    now = time.time()
    for row in rows:
        for line in _lines(row, now):
            click.echo(line)
    if not rows:
        click.echo(nothing)


def _lines(row: Mapping[str, Any], now: float) -> list[str]:
    who_ = f"{row['client']} as {row['user']}" if row["user"] else row["client"] or "other clients"
    domain = f", from {row['domain']}" if row["domain"] else ""
    times = f"{row['count']} times, {clock(row['first'], now)} to " if row["count"] > 1 else ""
    reply = f"{row['reply']} {row['text']}".strip()
    setting, advice = row["setting"], row["advice"]
    # Advice that is better than the setting comes before it.
    first = {"setting": setting, "or": advice[3:]} if advice.startswith("or ") else {"advice": advice}
    parts = {"refused": f"{reply}  [{row['rule']}]", "command": row["command"], **first}
    parts.setdefault("setting" if not advice else "or", setting)
    head = f"{who_} at {row['listener']}{domain}: {times}{clock(row['last'], now)}"
    lines = [f"    {name:<9} {printable(text)}" for name, text in parts.items() if text]
    return [f"{printable(head)} ({span(now - row['last'])} ago)", *lines]
