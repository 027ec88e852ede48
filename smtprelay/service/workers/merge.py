"""
One answer of the API, made of those of workers that share no spool. Pure.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

WorkerAnswer = dict[str, Any]

#: States of a lane, the worst last: what stops it at one worker is shown.
_STATES: Final = ("ok", "throttled", "unreachable", "blocked", "suspended", "removed")

#: What makes refusals one row: :attr:`smtprelay.model.refusal.RefusalRow.key`.
_ROW: Final = ("listener", "client", "user", "rule", "reply", "domain")


def status(answers: Sequence[WorkerAnswer]) -> WorkerAnswer:
    """Return the status of all; equal lines of ``attention`` are shown once."""
    lines = {(line["kind"], line["about"]): line for answer in answers for line in answer["attention"]}
    refused = sum(answer["refused"] or 0 for answer in answers)
    return {**answers[0], "attention": list(lines.values()), "refused": refused}


def drain(answers: Sequence[WorkerAnswer]) -> WorkerAnswer:
    """Return how far all are; the mail that waits lies in a spool of all."""
    sums = {name: sum(answer[name] for answer in answers) for name in ("sessions", "attempts")}
    return {**answers[0], **sums, "waiting": max(answer["waiting"] for answer in answers)}


def lanes(answers: Sequence[WorkerAnswer]) -> WorkerAnswer:
    """Return the lanes of all, with the mail of all, as they are where they are worst."""
    found: dict[tuple[str, str], WorkerAnswer] = {}
    for lane in (lane for answer in answers for lane in answer["lanes"]):
        key = (lane["provider"], lane["lane"])
        known = found.get(key, {"active": 0, "waiting": 0, "state": _STATES[0]})
        worse = max(lane, known, key=lambda each: _STATES.index(each["state"]))
        found[key] = {**worse, **{name: known[name] + lane[name] for name in ("active", "waiting")}}
    return {"lanes": list(found.values())}


def refused(answers: Sequence[WorkerAnswer]) -> WorkerAnswer:
    """Return the rows of all, added up, the last first."""
    rows: dict[tuple[str, ...], WorkerAnswer] = {}
    for row in sorted((row for answer in answers for row in answer["refused"]), key=itemgetter("last")):
        key = (*(row[name] for name in _ROW), "" if row["reply"] else row["text"])
        known = rows.get(key, {"count": 0, "first": row["first"]})
        first = min(known["first"], row["first"])
        rows[key] = {**row, "count": known["count"] + row["count"], "first": first}
    return {"refused": sorted(rows.values(), key=itemgetter("last"), reverse=True)}


def count(answers: Sequence[WorkerAnswer]) -> WorkerAnswer:
    """Return the sum."""
    return {"count": sum(answer["count"] for answer in answers)}


#: By the path of a route; of all others the first answer is that of all.
MERGES: Final[Mapping[str, Callable[[Sequence[WorkerAnswer]], WorkerAnswer]]] = {
    "/api/v1/status": status,
    "/api/v1/drain": drain,
    "/api/v1/providers": lanes,
    "/api/v1/refused": refused,
    "/api/v1/refused/clear": count,
}
