"""
What needs a person: the lines of ``attention`` in the answer about the relay's state.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from smtprelay.logwriter import Trouble
from smtprelay.model.unreachable import Unreachable
from smtprelay.queue import LaneState, Stock


def attention(
    stock: Stock | None, own: Collection[Unreachable], log: Trouble | None = None
) -> list[Mapping[str, Any]]:
    """
    Return what needs a person, each with a sentence.

    ``about`` is a provider with its lane, a delivery, or the log. ``since`` is when it began, ``until`` when
    it is tried again: seconds since the epoch or ``None``.

    :param own: the providers that this process cannot reach, for a relay without a spool.
    :param log: why the log cannot be written, if so.
    """
    unreachable = own if stock is None else stock.unreachable
    lines: list[Mapping[str, Any]] = [
        {
            "kind": "unreachable",
            "about": each.provider,
            "text": f"{each.provider} cannot be reached: {each.reason.rstrip('.')}",
            "host": each.host,
            "stage": each.stage,
            "since": each.since,
            "until": None,
        }
        for each in unreachable
    ]
    if log is not None:
        text = f"the log cannot be written: {log.reason}"
        lines.append({"kind": "log", "about": "log", "text": text, "since": log.since, "until": None})
    return lines if stock is None else [*lines, *_blocked(stock), *_crash_loops(stock)]


def _blocked(stock: Stock) -> Iterator[Mapping[str, Any]]:
    for lane in stock.lanes:
        if lane.blocked_reason:
            name = f"{lane.provider} {lane.lane}".strip()
            yield {
                "kind": "suspended" if lane.suspended else "blocked",
                "about": name,
                "text": f"{name} {_how(lane)}, {lane.waiting} waiting: {lane.blocked_reason}",
                "since": lane.blocked_since,
                "until": lane.resumes if lane.suspended else lane.blocked_until,
            }


def _how(lane: LaneState) -> str:
    return "waits for `smtprelay providers resume`" if lane.suspended else "is blocked"


def _crash_loops(stock: Stock) -> Iterator[Mapping[str, Any]]:
    for name in stock.crash_loops:
        why = "the relay died twice while delivering it"
        yield {
            "kind": "crash_loop",
            "about": name,
            "text": f"{name} is held, {why}: `smtprelay queue show {name}`",
            "since": None,
            "until": None,
        }
