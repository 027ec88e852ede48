"""
The lines of ``attention`` in the status: what an operator has to look at.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from smtprelay.model.expiry import Expiries, expiry_words
from smtprelay.model.queue import LaneState, QueueStats
from smtprelay.telemetry.log_writer import LogTrouble


def attention(
    stats: QueueStats | None,
    log: LogTrouble | None = None,
    silent: str = "",
    rejected: tuple[str, float] | None = None,
) -> list[Mapping[str, Any]]:
    """
    Return what an operator has to look at, each with a sentence.

    ``about`` is a provider with its lane, a delivery, the spool, the configuration, or the log. ``since`` is
    when it began and ``until`` when it is tried again, seconds since the epoch or ``None``.

    :param log: why the log cannot be written, if it cannot.
    :param silent: why the spool does not answer, if it does not.
    :param rejected: why the configuration could not be reloaded, and since when.
    """
    lines: list[Mapping[str, Any]] = []
    if log is not None:
        lines.append(_line("log", "log", f"the log cannot be written: {log.reason}", since=log.since))
    if rejected is not None:
        text = f"the configuration has changed and cannot be used: {rejected[0]}"
        lines.append(_line("configuration", "configuration", text, since=rejected[1]))
    if silent:
        lines.append(_line("spool", "spool", f"the spool does not answer: {silent}"))
    if stats is None:
        return lines
    for each in stats.unreachable:
        text = f"{each.provider} {each.trouble}: {each.reason.rstrip('.')}"
        place = {"host": each.host, "stage": each.stage}
        lines.append(_line("unreachable", each.provider, text, since=each.since) | place)
    named = Counter(lane.provider for lane in stats.lanes if lane.lane and lane.blocked_reason)
    for lane in stats.lanes:
        lines += _stopped(lane)
        more = lane.blocked - named[lane.provider]
        if more > 0:
            text = f"{more} more lanes of {lane.provider} are blocked: `smtprelay providers list`"
            lines.append(_line("blocked", lane.provider, text))
    for name in stats.crash_loops:
        text = f"{name} is held, the relay died twice while delivering it: `smtprelay queue show {name}`"
        lines.append(_line("crash_loop", name, text))
    return lines


def expiring(expiries: Expiries, now: float) -> Iterator[Mapping[str, Any]]:
    """Give the same lines of secrets, certificates and logins that end soon."""
    for name, end in expiries.items():
        if words := expiry_words(end, now):
            yield _line("expiring", name, f"{name} {words}")


def failing(keys: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Give the same lines of keys that cannot sign mail."""
    for text in keys:
        yield _line("dkim", "dkim", text)


def _stopped(lane: LaneState) -> Iterator[Mapping[str, Any]]:
    name = f"{lane.provider} {lane.lane}".strip()
    waiting = f"{lane.waiting} waiting"
    if lane.state == "removed":
        how = f"`smtprelay queue reroute --from-provider {lane.provider} --provider NAME`"
        yield _line("removed", name, f"{name} is not configured any more, {waiting}: {how}")
    elif lane.suspended:
        text = (
            f"{name} waits for `smtprelay providers resume {lane.provider}`, {waiting}: {lane.blocked_reason}"
        )
        yield _line("suspended", name, text, since=lane.blocked_since, until=lane.resumes)
    elif lane.blocked_reason:
        text = f"{name} is blocked, {waiting}: {lane.blocked_reason}"
        yield _line("blocked", name, text, since=lane.blocked_since, until=lane.blocked_until)


def _line(
    kind: str, about: str, text: str, *, since: float | None = None, until: float | None = None
) -> dict[str, Any]:
    return {"kind": kind, "about": about, "text": text, "since": since, "until": until}
