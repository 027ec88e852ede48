"""
What an operator sees of the queue. Nothing here changes anything.

Lists go by an index and stop at their limit, so that they cost the same with ten deliveries and with a
million; a filter is asked of one page at a time (:mod:`smtprelay.spool.query.search`).
"""

import json
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from attrs import evolve

from smtprelay.model.queue import (
    ASKED_TO_WAIT,
    RECORDED,
    SPLIT,
    SUSPENDED,
    TAKES_NO_MAIL,
    AttemptRecord,
    Detail,
    LaneState,
    Node,
    QueueStats,
    RecipientState,
    Selection,
    Summary,
    Unreachable,
)
from smtprelay.model.queue_admin import Found
from smtprelay.model.route import RateLimit
from smtprelay.spool.engines.engine import Engine
from smtprelay.spool.engines.transaction import Connection
from smtprelay.spool.operations.suspects import CRASH_LOOP
from smtprelay.spool.operations.unreachable import unreachable
from smtprelay.spool.query.search import ALIVE, LARGEST_PAGE, Search, identified
from smtprelay.spool.receive.capacity import DiskSpace
from smtprelay.spool.tables.deliveries import ATTEMPT, EDITS, attempt_of

#: The outcomes in a history that are no attempt's.
_CHANGES: Final = (*RECORDED, SPLIT)

#: Why a suspect waits.
_APART: Final = "the relay died while it was under way: it goes again alone, after the rest"

_ATTEMPTS: Final = (
    "(SELECT count(*) FROM attempt t WHERE t.message = d.message AND t.n = d.n AND t.outcome NOT IN ("  # noqa: S608
    f"{EDITS}))"
)
_SUMMARY: Final = (
    f"d.message, d.n, d.state, d.route, d.due, d.reason, d.uncertain, {_ATTEMPTS}, m.sender, m.size,"
    " m.subject, m.received, l.provider, l.key, l.blocked_reason, o.blocked_reason, d.ended, m.client,"
    " m.message_id, d.suspect, o.blocked_until"
)


#: In words that leave PostgreSQL no other index than the one of what is alive.
_FIRST_IN_STATE: Final = (
    "SELECT message FROM delivery WHERE ended IS NULL AND state >= ? AND state <= ?"
    " ORDER BY state, message LIMIT 1"
)


#: Crash loops, and lanes of each kind, that are named.
_MOST_NAMED: Final = 20

_CRASH_LOOPS: Final = (
    "SELECT message, n FROM delivery WHERE suspect > 0 AND suspect = ? ORDER BY message, n LIMIT ?"
)


_LANES: Final = (
    "SELECT provider, key, queued + deferred, active, due, blocked_until, blocked_reason, ceiling,"
    " resumes, blocked_since FROM lane"
)

#: What is in all lanes of a provider.
_TOTALS: Final = """
    SELECT provider, sum(queued), sum(active), sum(deferred), sum(held), count(*)
    FROM lane GROUP BY provider ORDER BY provider"""

#: Lanes within a provider that are blocked, and that are throttled.
_COUNT: Final = "SELECT provider, count(*) FROM lane WHERE {} GROUP BY provider"
_STOPPED: Final = ("blocked_until IS NOT NULL AND key <> ''", "ceiling IS NOT NULL AND key <> ''")


def found(
    connection: Connection, selection: Selection, rate_limits: Mapping[str, RateLimit], mark: str, limit: int
) -> tuple[Found, int]:
    """
    Return up to ``limit`` lines of one page of a search, and how many rows were looked at for it.

    :raises LookupError: an id of the selection names no message, or several.
    :raises ValueError: the mark is none of ours.
    """
    page = Search(selection=selection, columns=_SUMMARY).page(connection, mark, limit)
    lines = [_summary(connection, row, rate_limits) for row in page.rows[:limit]]
    return Found(deliveries=lines, mark=page.mark), page.searched


def details(connection: Connection, message: str, rate_limits: Mapping[str, RateLimit]) -> list[Detail]:
    """
    Return all that is known of the deliveries of one message.

    :raises LookupError: there is no such message, or ``message`` is the beginning of several ids.
    """
    search = Search(selection=Selection(ids=(message,)), columns=_SUMMARY)
    return [
        Detail(
            summary=_summary(connection, row, rate_limits),
            client=json.loads(row[17]),
            message_id=row[18],
            history=_history(connection, row[0], row[1]),
        )
        for row in search.page(connection, "", LARGEST_PAGE).rows
    ]


def message_of(connection: Connection, text: str) -> tuple[str, int]:
    """
    Return id and size of the message whose id begins with ``text``.

    :raises LookupError: there is none, or several are; or what is named was deleted.
    """
    condition, parameters = identified(connection, text)
    rows = connection.execute(
        "SELECT d.message, m.size, d.state, d.reason FROM delivery d JOIN message m ON m.id = d.message"  # noqa: S608
        f" WHERE {condition} ORDER BY d.n",
        parameters,
    ).fetchall()
    for message, size, state, _ in rows:
        if state != "deleted":
            return message, size
    if rows:
        raise LookupError(f"the content of {text} is gone: {rows[-1][3]}")
    raise LookupError(f"there is no delivery {text!r}")


def lanes(
    connection: Connection, rate_limits: Mapping[str, RateLimit], provider: str = ""
) -> list[LaneState]:
    """Return the lanes, all of them or those of one provider; of providers that are gone the busy ones."""
    where, parameters = (" WHERE provider = ?", (provider,)) if provider else ("", ())
    rows = connection.execute(f"{_LANES}{where} ORDER BY provider, key", parameters).fetchall()
    failing = _names(unreachable(connection))
    whole = {row[0]: _of_provider(row, rate_limits, failing) for row in rows if row[1] == ""}
    return [
        LaneState(*_shown(row), *_of_lane(row, whole[row[0]]))
        for row in rows
        if whole[row[0]] != "removed" or row[2] or row[3]
    ]


def _summed_lanes(
    connection: Connection,
    totals: Sequence[Sequence[Any]],
    rate_limits: Mapping[str, RateLimit],
    failing: set[str],
) -> list[LaneState]:
    """Return a provider's own lane with what is in all its lanes, and the first few that do not run."""
    blocked, throttled = (dict(connection.execute(_COUNT.format(which)).fetchall()) for which in _STOPPED)
    states = []
    for provider, queued, active, deferred, _, lanes in totals:
        row = connection.execute(f"{_LANES} WHERE provider = ? AND key = ''", (provider,)).fetchone()
        whole = _of_provider(row, rate_limits, failing)
        if whole != "removed" or queued or deferred or active:
            shown = [*row[:2], queued + deferred, active, *row[4:]]
            state = LaneState(*_shown(shown), *_of_lane(row, whole))
            stopped = {"blocked": blocked.get(provider, 0), "throttled": throttled.get(provider, 0)}
            states += [evolve(state, lanes=lanes, **stopped), *_stopped(connection, provider, whole)]
    return states


def _stopped(connection: Connection, provider: str, whole: str) -> list[LaneState]:
    """Return the first few lanes within a provider that do not run as they should."""
    found = {}
    for which in _STOPPED:
        sql = f"{_LANES} WHERE provider = ? AND {which} LIMIT ?"
        for row in connection.execute(sql, (provider, _MOST_NAMED)).fetchall():
            found[row[1]] = LaneState(*_shown(row), *_of_lane(row, whole))
    return list(found.values())


def _shown(row: Sequence[Any]) -> Sequence[Any]:
    """Return a lane's row without the time that stands for a suspension."""
    return [*row[:5], None if row[5] == SUSPENDED else row[5], *row[6:]]


def _of_provider(
    row: Sequence[Any], rate_limits: Mapping[str, RateLimit], unreachable: Collection[str]
) -> str:
    """Return what keeps all mail of the provider whose own lane this is; ``""`` is nothing."""
    if rate_limits and row[0] not in rate_limits:
        return "removed"
    if row[5] is not None:
        return "suspended" if row[5] == SUSPENDED else "blocked"
    return "unreachable" if row[0] in unreachable else ""


def _of_lane(row: Sequence[Any], whole: str) -> Sequence[Any]:
    """Return whether a lane is suspended, and its state; ``whole`` is that of its provider."""
    own = "blocked" if row[5] is not None else "ok" if row[7] is None else "throttled"
    return row[5] == SUSPENDED, whole or own


def _oldest(connection: Connection) -> tuple[str, float | None]:
    """Return the oldest message that waits, with when it was received."""
    first = [connection.execute(_FIRST_IN_STATE, (state, state)).fetchone() for state in ALIVE]
    oldest: str = min((row[0] for row in first if row is not None), default="")
    if not oldest:
        return "", None
    row = connection.execute("SELECT received FROM message WHERE id = ?", (oldest,)).fetchone()
    return oldest, row[0]


def stats(connection: Connection, rate_limits: Mapping[str, RateLimit], engine: Engine) -> QueueStats:
    """Return what lies in the spool that ``engine`` keeps."""
    size, free = engine.measure(connection)
    totals = [[row[0], *map(int, row[1:])] for row in connection.execute(_TOTALS).fetchall()]
    oldest_message, oldest = _oldest(connection)
    failing = unreachable(connection)
    crash_loops = connection.execute(_CRASH_LOOPS, (CRASH_LOOP, _MOST_NAMED)).fetchall()
    return QueueStats(
        states={
            state: sum(row[place] for row in totals)
            for place, state in enumerate(("queued", "active", "deferred", "held"), start=1)
        },
        bytes=size,
        free=free,
        oldest=oldest,
        oldest_message=oldest_message,
        lanes=_summed_lanes(connection, totals, rate_limits, _names(failing)),
        crash_loops=[f"{message}.{n}" for message, n in crash_loops],
        unreachable=failing,
    )


def _names(failing: Sequence[Unreachable]) -> set[str]:
    """Return the providers that cannot be reached; the others answer."""
    return {each.provider for each in failing if each.stage != TAKES_NO_MAIL}


def usage(connection: Connection, engine: Engine) -> tuple[int, DiskSpace]:
    """Return how many deliveries of the spool that ``engine`` keeps are not finished, and its disk."""
    row = connection.execute(
        "SELECT coalesce(sum(queued + active + deferred + held), 0) FROM lane"
    ).fetchone()
    return int(row[0]), engine.disk(connection)


def _summary(connection: Connection, row: Sequence[Any], rate_limits: Mapping[str, RateLimit]) -> Summary:
    (message, n, state, route, due, reason, uncertain, attempts, sender, size, subject, received, *rest) = row
    provider, key, lane_reason, own_reason, ended, *_, suspect, own_until = rest
    recipients = connection.execute(
        "SELECT address, state, reason, provider_id FROM recipient"
        " WHERE message = ? AND n = ? ORDER BY position",
        (message, n),
    ).fetchall()
    waiting_for = try_now = ""
    if state in ("queued", "deferred"):
        gone = (
            ""
            if provider in rate_limits or not rate_limits
            else f"provider {provider} is not configured any more"
        )
        stopped = own_reason or lane_reason
        waiting_for = gone or stopped or (_APART if suspect else "")
        if gone:
            try_now = f"smtprelay queue reroute {message}.{n} --provider NAME"
        elif stopped:
            try_now = _command(provider, "" if own_reason else key, stopped, suspended=own_until == SUSPENDED)
    return Summary(
        id=f"{message}.{n}",
        message=message,
        state=state,
        sender=sender,
        recipients=[RecipientState(address=a, state=s, reason=r, provider_id=i) for a, s, r, i in recipients],
        attempts=attempts,
        size=size,
        subject=subject,
        received=received,
        due=due,
        route=route,
        provider=provider,
        lane=key,
        reason=reason,
        waiting_for=waiting_for,
        try_now=try_now,
        uncertain=bool(uncertain),
        ended=ended,
    )


def _command(provider: str, key: str, reason: str, *, suspended: bool) -> str:
    """Return what has a stopped lane tried at once."""
    if suspended:
        return f"smtprelay providers resume {provider}"
    force = " --force" if reason.startswith(ASKED_TO_WAIT) else ""
    return " ".join(filter(None, ("smtprelay providers probe", provider, key))) + force


def _history(connection: Connection, message: str, n: int) -> list[AttemptRecord]:
    rows = connection.execute(
        f"SELECT {ATTEMPT} FROM attempt WHERE message = ? AND n = ? ORDER BY number",  # noqa: S608
        (message, n),
    ).fetchall()
    attempts = [attempt_of(row) for row in rows]
    counted = accumulate(int(attempt.outcome not in _CHANGES) for attempt in attempts)
    return [
        evolve(attempt, number=0 if attempt.outcome in _CHANGES else number)
        for attempt, number in zip(attempts, counted, strict=True)
    ]


def nodes(connection: Connection) -> Sequence[Node]:
    """Return the nodes by name; none where the spool belongs to one process."""
    rows = connection.execute("SELECT name, seen, draining FROM node ORDER BY name").fetchall()
    return [Node(name=name, seen=seen, draining=bool(draining)) for name, seen, draining in rows]
