"""The table of ``queue list``: one line a delivery, and below it the lanes that are blocked."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from smtprelay.cli import output
from smtprelay.cli.options import reaching
from smtprelay.cli.text import ahead, clock, count, printable, size, span

_HEADINGS = ("ID", "AGE", "SIZE", "STATE", "TRIES", "NEXT", "PROVIDER", "FROM", "TO", "SUBJECT", "LAST ERROR")

#: On a terminal with fewer columns than these the mail is one column, which has several lines.
_WIDE = 140
_NARROW = ("ID", "AGE", "SIZE", "STATE", "NEXT", "MAIL")


def show(found: Mapping[str, Any], color: str, *, filtered: bool = False, over: bool = False) -> None:
    """
    Print the answer of ``GET /queue``.

    :param filtered: other mail than what was looked for may wait.
    :param over: it is about mail that does not wait, so no lane that is stopped has to do with it.
    """
    now = time.time()
    deliveries = found["deliveries"]
    if deliveries:
        show_lines(deliveries, color)
        total = sum(delivery["size"] for delivery in deliveries)
        click.echo(f"{count(len(deliveries), 'delivery')}, {size(total)}.")
    else:
        click.echo("Nothing found." if over or filtered else "Nothing waits.")
    for line in () if over else blocked(found["lanes"], now):
        click.echo(line)


def show_lines(deliveries: Sequence[Mapping[str, Any]], color: str) -> None:
    """Print the table alone."""
    now = time.time()
    room = output.room(color)
    if room is None or room >= _WIDE:
        output.table(_HEADINGS, [_row(delivery, now) for delivery in deliveries], color)
    else:
        output.table(_NARROW, [_narrow_row(delivery, now) for delivery in deliveries], color)


def blocked(lanes: Sequence[Mapping[str, Any]], now: float) -> Sequence[str]:
    """Return a sentence for each lane that is stopped."""
    return [
        f"{_name(lane)} {reaching(_how(lane, now))}, {lane['waiting']} waiting:"
        f" {printable(lane['blocked_reason'])}"
        for lane in lanes
        if lane["blocked_reason"]
    ]


def _how(lane: Mapping[str, Any], now: float) -> str:
    if lane.get("suspended"):
        resumes = lane.get("resumes")
        until = "" if resumes is None else f"until {clock(resumes, now)}, or "
        return f"waits {until}for `smtprelay providers resume {lane['provider']}`"
    return f"is blocked, tried again at {clock(lane['blocked_until'], now)}"


def _name(lane: Mapping[str, Any]) -> str:
    return printable(f"{lane['provider']} {lane['lane']}".strip())


def _row(delivery: Mapping[str, Any], now: float) -> Sequence[object]:
    return (
        delivery["id"],
        span(now - delivery["received"]),
        size(delivery["size"]),
        delivery["state"],
        delivery["attempts"],
        _next(delivery, now),
        delivery["provider"] or "–",
        delivery["sender"] or "<>",
        _recipients(delivery["recipients"]),
        delivery["subject"],
        delivery["waiting_for"] or delivery["reason"],
    )


def _narrow_row(delivery: Mapping[str, Any], now: float) -> Sequence[object]:
    name, age, length, state, _, due, provider, sender, recipients, subject, error = _row(delivery, now)
    tried = f"{provider}, {count(delivery['attempts'], 'attempt')}: {error}" if error else ""
    mail = [line for line in (f"{sender} → {recipients}", subject, tried) if line]
    return name, age, length, state, due, mail


def _next(delivery: Mapping[str, Any], now: float) -> str:
    if delivery["due"] is None or delivery["state"] not in {"queued", "deferred"}:
        return "–"
    due = ahead(delivery["due"] - now)
    # What is due goes when its lane is open again, which the line below the table tells.
    return due if not delivery["waiting_for"] else "blocked" if due == "now" else f"blocked, {due}"


def _recipients(recipients: Sequence[Mapping[str, Any]]) -> str:
    # The ones that are still open are what somebody looks for.
    ordered = sorted(recipients, key=lambda recipient: recipient["state"] != "open")
    first = ordered[0]["address"] if ordered else "–"
    return first if len(ordered) < 2 else f"{first} +{len(ordered) - 1}"  # noqa: PLR2004
