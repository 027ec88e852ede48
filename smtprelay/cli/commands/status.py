"""``smtprelay status``: the state of the relay on one screen, and what needs attention."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from smtprelay.cli import output
from smtprelay.cli.options import RelayCommand, reaching
from smtprelay.cli.source import API, running
from smtprelay.cli.text import clock, count, printable, size, span


@click.command(cls=RelayCommand)
@click.pass_context
def status(ctx: click.Context) -> None:
    """Show the state of the relay on one screen."""
    answer = running(ctx).get(f"{API}/status")
    lines = [f"{name:<11}{reaching(printable(line))}" for name, line in _lines(answer, time.time())]
    output.result(ctx, answer, lambda: click.echo("\n".join(lines)))


def _lines(answer: Mapping[str, Any], now: float) -> Iterator[tuple[str, str]]:
    ready = answer["ready"]
    word = "READY" if ready["ok"] else "NOT READY"
    yield "smtprelay", f"{answer['version']}  up {span(answer['uptime'])}  {word}"
    for name, reason in ready["checks"].items():
        if reason:
            yield "not ready", f"{name}: {reason}"
    for worker in answer.get("workers", ()):
        process = f"process {worker['pid']}" if worker["pid"] else "no process"
        state = "ready" if worker["ready"] else "not ready"
        yield "worker", f"{worker['number']}  {process}  {state}"
    for node in answer.get("nodes", ()):
        draining = "  draining" if node["draining"] else ""
        yield "node", f"{node['name']}  seen {span(now - node['seen'])} ago{draining}"
    for listener in answer["listeners"]:
        yield "listener", _listener(listener)
    stats = answer["stats"]
    if stats is not None:  # None: there is no spool, or it does not answer
        yield "spool", _spool(stats, now)
        for lane in stats["lanes"]:
            yield "provider", _lane(lane)
    if answer.get("refused"):
        yield "refused", f"{answer['refused']} in 24 h, see smtprelay refused"
    for each in answer["attention"]:
        yield "attention", _attention(each, now)


def _attention(line: Mapping[str, Any], now: float) -> str:
    since, until = line["since"], line["until"]
    parts = [line["text"]]
    if since is not None:
        parts.append(f"since {clock(since, now)} ({span(now - since)})")
    if until is not None:
        parts.append(f"{'until' if line['kind'] == 'suspended' else 'tried again at'} {clock(until, now)}")
    return ", ".join(parts)


def _listener(listener: object) -> str:
    if not isinstance(listener, dict):
        return str(listener)
    details = (
        f"{key} {value}" for key, value in listener.items() if key != "name" and value not in (None, "")
    )
    return "  ".join([str(listener.get("name", "")), *details]).strip()


def _spool(stats: Mapping[str, Any], now: float) -> str:
    states = {state: number for state, number in stats["states"].items() if number}
    each = ", ".join(f"{number} {state}" for state, number in states.items())
    waiting = count(sum(states.values()), "delivery")
    parts = [f"{waiting} ({each})" if each else waiting, size(stats["bytes"])]
    if stats["free"] is not None:
        parts.append(f"{size(stats['free'])} free")
    if stats["oldest"] is not None:
        parts.append(f"oldest {span(now - stats['oldest'])} {stats['oldest_message']}")
    return ", ".join(parts)


def _lane(lane: Mapping[str, Any]) -> str:
    name = f"{lane['provider']} {lane['lane']}".strip()
    state = lane["state"] if lane["state"] == "ok" else lane["state"].upper()
    if state == "THROTTLED":
        state += f" to {int(lane['ceiling']) or 'less than one'} at once"
    return f"{name}  {state}  {lane['active']} active, {lane['waiting']} waiting"
