"""
How the queue is printed: the table of ``queue list``, and the page of ``queue show`` for one message.

The page has every attempt with the provider's answer; its last lines say what happens next and what the
operator may do.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from smtprelay.cli import output
from smtprelay.cli.options import again, reaching
from smtprelay.cli.text import ahead, clock, count, moment, printable, size, span

#: An object of the API.
Details = Mapping[str, Any]

_HEADINGS = ("ID", "AGE", "SIZE", "STATE", "TRIES", "NEXT", "PROVIDER", "FROM", "TO", "SUBJECT", "LAST ERROR")

#: On a terminal with fewer columns than this, what belongs to the mail is one column of several lines.
_WIDE = 140
_NARROW = ("ID", "AGE", "SIZE", "STATE", "NEXT", "MAIL")


def show_list(found: Details, *, filtered: bool = False, finished: bool = False) -> None:
    """
    Print the answer of ``GET /queue``.

    :param filtered: there may be other mail that waits.
    :param finished: no mail was asked for that waits, so blocked lanes do not matter.
    """
    deliveries = found["deliveries"]
    if deliveries:
        show_rows(deliveries)
        total = sum(delivery["size"] for delivery in deliveries)
        click.echo(f"{count(len(deliveries), 'delivery')}, {size(total)}.")
    else:
        click.echo("Nothing found." if finished or filtered else "Nothing waits.")
    if not finished:
        show_blocked(found["lanes"])


def show_rows(deliveries: Sequence[Details]) -> None:
    """Print only the table."""
    now = time.time()
    room = output.room()
    if room is None or room >= _WIDE:
        output.table(_HEADINGS, [_row(delivery, now) for delivery in deliveries])
    else:
        output.table(_NARROW, [_narrow_row(delivery, now) for delivery in deliveries])


def show_blocked(lanes: Sequence[Details]) -> None:
    """Print a sentence for each lane that is blocked or suspended."""
    now = time.time()
    for lane in lanes:
        if lane["blocked_reason"]:
            name = printable(f"{lane['provider']} {lane['lane']}".strip())
            reason = printable(lane["blocked_reason"])
            click.echo(f"{name} {reaching(_how(lane, now))}, {lane['waiting']} waiting: {reason}")


def show_message(deliveries: Sequence[Details], *, running: bool) -> None:
    """
    Print the ``deliveries`` of one message, as ``GET /queue/<id>`` gives them.

    :param running: the relay runs; else a command for a provider has to wait until it does.
    """
    now = time.time()
    for number, detail in enumerate(deliveries):
        if number:
            click.echo()
        for name, lines in _sections(detail, now, running=running):
            for at, line in enumerate(lines):
                click.echo(f"{name if not at else '':<11}{printable(line)}")


def _how(lane: Details, now: float) -> str:
    if lane.get("suspended"):
        resumes = lane.get("resumes")
        until = "" if resumes is None else f"until {clock(resumes, now)}, or "
        return f"waits {until}for `smtprelay providers resume {lane['provider']}`"
    return f"is blocked, tried again at {clock(lane['blocked_until'], now)}"


def _row(delivery: Details, now: float) -> Sequence[object]:
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


def _narrow_row(delivery: Details, now: float) -> Sequence[object]:
    name, age, length, state, _, due, provider, sender, recipients, subject, error = _row(delivery, now)
    tried = f"{provider}, {count(delivery['attempts'], 'attempt')}: {error}" if error else ""
    mail = [line for line in (f"{sender} → {recipients}", subject, tried) if line]
    return name, age, length, state, due, mail


def _next(delivery: Details, now: float) -> str:
    if delivery["due"] is None or delivery["state"] not in {"queued", "deferred"}:
        return "–"
    due = ahead(delivery["due"] - now)
    # What is due goes when its lane is open again; the line below the table says when that is.
    return due if not delivery["waiting_for"] else "blocked" if due == "now" else f"blocked, {due}"


def _recipients(recipients: Sequence[Details]) -> str:
    # Recipients that are still open come first.
    ordered = sorted(recipients, key=lambda recipient: recipient["state"] != "open")
    first = ordered[0]["address"] if ordered else "–"
    return first if len(ordered) < 2 else f"{first} +{len(ordered) - 1}"  # noqa: PLR2004


def _sections(detail: Details, now: float, *, running: bool) -> Iterator[tuple[str, Sequence[str]]]:
    summary = detail["summary"]
    subject = f"   “{summary['subject']}”" if summary["subject"] else ""
    yield "Delivery", [f"{summary['id']}   {summary['state']}   {size(summary['size'])}{subject}"]
    if detail["message_id"]:
        yield "Message-ID", [detail["message_id"]]
    yield "From", [summary["sender"] or "<>"]
    yield (
        "To",
        [
            "   ".join(filter(None, (to["address"], to["state"], to["reason"] or to["provider_id"])))
            for to in summary["recipients"]
        ],
    )
    yield "Received", [f"{moment(summary['received'])} {_client(detail['client'])}".rstrip()]
    lane = f" (lane {summary['lane']})" if summary["lane"] else ""
    yield "Route", [f"{summary['route']} → {summary['provider']}{lane}"]
    yield "Timeline", list(_history(detail, now))
    why = summary["waiting_for"] or summary["reason"]
    if why:
        yield "Why", [why]
    advice = _advice(summary, now)
    if advice:
        start = "" if running or not advice.startswith("smtprelay providers") else "start the relay, then "
        yield "Do", [f"{start}{advice}"]


def _client(client: Mapping[str, str]) -> str:
    def given(**forms: str) -> list[str]:
        return [form.format(client[key]) for key, form in forms.items() if client.get(key)]

    origin = " ".join(given(address="from {}", helo="({})"))
    return ", ".join(filter(None, [origin, *given(listener="listener {}", tls="{}", user="user {}")]))


def _history(detail: Details, now: float) -> Iterator[str]:
    summary = detail["summary"]
    day = summary["received"]
    yield f"{clock(day, day)}  accepted, queued as {summary['message']}"
    for attempt in detail["history"]:
        yield f"{clock(attempt['started'], day)}  {_attempt(attempt)}".rstrip()
    if summary["due"] is not None and summary["state"] in {"queued", "deferred"}:
        first = "resolve the last attempt, then " if summary["uncertain"] else ""
        cause = ", when the cause below is corrected" if summary["waiting_for"] else ""
        due = ahead(summary["due"] - now)
        if cause and due == "now":
            yield f"then      {first}next attempt{cause}"
        else:
            yield f"{clock(summary['due'], day)}  {first}next attempt ({due}){cause}"


def _attempt(attempt: Details) -> str:
    if not attempt["number"]:
        # A change to the delivery, by an operator or by a split.
        return f"{attempt['outcome']}  {attempt['reason']}"
    took = "" if attempt["ended"] is None else f"{attempt['ended'] - attempt['started']:.1f} s"
    outcome = attempt["outcome"] or "under way"
    return f"#{attempt['number']}  {attempt['provider']}  {outcome}  {took}  {attempt['reason']}"


def _advice(summary: Details, now: float) -> str:
    name, queue = summary["id"], f"{again(click.get_current_context())} queue"
    age = span(now - summary["received"])
    return summary["try_now"] or {
        "held": f"{queue} release {name}   or   {queue} delete {name}",
        "failed": f"{queue} retry {name}, when the cause is corrected",
        "deferred": f"wait (it is {age} old)   or   {queue} retry {name}",
    }.get(summary["state"], "")
