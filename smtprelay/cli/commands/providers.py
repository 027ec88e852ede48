"""
``smtprelay providers``: lists, probes, suspends and resumes providers.
"""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click

from smtprelay.cli import output
from smtprelay.cli.options import Group, again, why_option
from smtprelay.cli.selection import DurationType
from smtprelay.cli.source import API, running
from smtprelay.cli.text import clock, moment, who


@click.group(cls=Group)
def providers() -> None:
    """List, probe, suspend and resume providers."""


@providers.command("list")
@click.pass_context
def list_(ctx: click.Context) -> None:
    """List the lanes of all providers and how much mail waits in them."""
    answer = running(ctx).get(f"{API}/providers")
    headings = ("PROVIDER", "LANE", "STATE", "ACTIVE", "WAITING", "REASON")
    lines = [_row(lane, time.time()) for lane in answer["lanes"]]
    output.result(ctx, answer, lambda: output.table(headings, lines), rows=answer["lanes"])


@providers.command()
@click.argument("name")
@click.argument("lane", default="")
@click.option("--force", is_flag=True, help="Even if the provider asked the relay to wait.")
@click.pass_context
def probe(ctx: click.Context, *, name: str, lane: str, force: bool) -> None:
    """
    Try a blocked or unreachable provider, or one of its lanes, now.

    The command does not wait for the result: providers list and the log show it.
    """
    text = f"is being tried: see {again(ctx)} providers list"
    _post(ctx, name, "probe", {"lane": lane, "force": force}, text)


@providers.command()
@click.argument("name")
@click.option(
    "--for", "span", metavar="SPAN", type=DurationType(), help="Resume by itself after this time: 2h."
)
@why_option("Shown with the mail that waits for it.")
@click.pass_context
def suspend(ctx: click.Context, *, name: str, span: float | None, why: str) -> None:
    """
    Stop sending to a provider until it is resumed.

    Mail takes the next provider of its route; without one it waits.
    """
    limit: Mapping[str, Any] = {} if span is None else {"for": span}
    until = "" if span is None else f" until {moment(time.time() + span)}"
    _post(ctx, name, "suspend", {"why": why, **limit}, f"is suspended{until}")


@providers.command()
@click.argument("name")
@click.pass_context
def resume(ctx: click.Context, *, name: str) -> None:
    """Resume a suspended provider."""
    _post(ctx, name, "resume", {}, "is resumed")


def _post(ctx: click.Context, name: str, what: str, body: Mapping[str, Any], text: str) -> None:
    path = f"{API}/providers/{quote(name, safe='')}/{what}"
    answer = running(ctx).post(path, {**body, "who": who()})
    sentence = " ".join(filter(None, (name, body.get("lane"), text)))
    output.result(ctx, answer, lambda: click.echo(sentence))


def _row(lane: Mapping[str, Any], now: float) -> tuple[object, ...]:
    state = lane["state"]
    until = {"suspended": lane["resumes"], "blocked": lane["blocked_until"]}.get(state)
    return (
        lane["provider"],
        lane["lane"] or "–",
        state if until is None else f"{state} until {clock(until, now)}",
        lane["active"],
        lane["waiting"],
        lane["blocked_reason"],
    )
