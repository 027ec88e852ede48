"""
The page of ``queue show``: where one message is, and how it got there.

Every attempt stands there with what the provider said, in the provider's words,
and the last lines say what happens next and what may be done about it.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from smtprelay.cli.text import ahead, clock, moment, printable, size, span

Details = Mapping[str, Any]


def show(deliveries: Sequence[Details], program: str, *, running: bool) -> None:
    """
    Print the ``deliveries`` of one message, as ``GET /queue/<id>`` gives them.

    :param program: how a command begins: ``smtprelay -c FILE``.
    :param running: the relay runs; else what is to be done to a provider has to wait for that.
    """
    for number, detail in enumerate(deliveries):
        if number:
            click.echo()
        for name, lines in _sections(detail, time.time(), program, running=running):
            for at, line in enumerate(lines):
                click.echo(f"{name if not at else '':<11}{printable(line)}")


def _sections(
    detail: Details, now: float, program: str, *, running: bool
) -> Iterator[tuple[str, Sequence[str]]]:
    summary = detail["summary"]
    subject = f"   “{summary['subject']}”" if summary["subject"] else ""
    yield "Delivery", [f"{summary['id']}   {summary['state']}   {size(summary['size'])}{subject}"]
    if detail["message_id"]:
        yield "Message-ID", [detail["message_id"]]
    yield "From", [summary["sender"] or "<>"]
    yield "To", [_recipient(recipient) for recipient in summary["recipients"]]
    yield "Received", [f"{moment(summary['received'])} {_client(detail['client'])}".rstrip()]
    lane = f" (lane {summary['lane']})" if summary["lane"] else ""
    yield "Route", [f"{summary['route']} → {summary['provider']}{lane}"]
    yield "Timeline", list(_history(detail, now))
    why = summary["waiting_for"] or summary["reason"]
    if why:
        yield "Why", [why]
    advice = _advice(summary, f"{program} queue")
    if advice:
        start = "" if running or not advice.startswith("smtprelay providers") else "start the relay, then "
        yield "Do", [f"{start}{advice}"]


def _recipient(recipient: Mapping[str, Any]) -> str:
    words = recipient["reason"] or recipient["provider_id"]
    return f"{recipient['address']}   {recipient['state']}{f'   {words}' if words else ''}"


def _client(client: Mapping[str, str]) -> str:
    known = [
        f"from {client['address']}" if client.get("address") else "",
        f"({client['helo']})" if client.get("helo") else "",
    ]
    listener = f"listener {client['listener']}" if client.get("listener") else ""
    user = f"user {client['user']}" if client.get("user") else ""
    how = [listener, client.get("tls", ""), user]
    return ", ".join(filter(None, [" ".join(filter(None, known)), *how]))


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


def _attempt(attempt: Mapping[str, Any]) -> str:
    if not attempt["number"]:
        # A change to the delivery, by an operator or by a split.
        return f"{attempt['outcome']}  {attempt['reason']}"
    took = "" if attempt["ended"] is None else f"{attempt['ended'] - attempt['started']:.1f} s"
    outcome = attempt["outcome"] or "under way"
    return f"#{attempt['number']}  {attempt['provider']}  {outcome}  {took}  {attempt['reason']}"


def _advice(summary: Mapping[str, Any], queue: str) -> str:
    name = summary["id"]
    age = span(time.time() - summary["received"])
    return summary["try_now"] or {
        "held": f"{queue} release {name}   or   {queue} delete {name}",
        "failed": f"{queue} retry {name}, when the cause is corrected",
        "deferred": f"wait (it is {age} old)   or   {queue} retry {name}",
    }.get(summary["state"], "")
