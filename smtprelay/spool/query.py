"""
What an operator sees of the queue. Nothing here changes anything.

Lists go by the index of what is alive, oldest first, and stop at their limit, so
that they cost the same with ten deliveries and with a million.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from smtprelay.message import Pace
from smtprelay.queue import FINAL, STATES, Attempt, Detail, LaneState, RecipientState, Selection, Summary
from smtprelay.spool.connection import Connection
from smtprelay.spool.identity import canonical, last_with
from smtprelay.spool.lanes import ANY_NUMBER

_ALIVE: Final = tuple(state for state in STATES if state not in FINAL)

_SUMMARY: Final = (
    "d.message, d.n, d.state, d.route, d.due, d.reason, d.uncertain, d.attempt, m.sender, m.size, m.subject,"
    " m.received, l.provider, l.key, l.blocked_reason, o.blocked_reason, m.client, m.message_id"
)

#: One state at a time: each then comes in order from an index, and stops at the limit.
_MATCHING: Final = (
    "SELECT {columns} FROM delivery d JOIN message m ON m.id = d.message JOIN lane l ON l.id = d.lane"
    " LEFT JOIN lane o ON o.provider = l.provider AND o.key = ''"
    " WHERE {where} ORDER BY d.message LIMIT ?{lock}"
)


#: In words that leave PostgreSQL no other index than the one of what is alive.
_FIRST_IN_STATE: Final = (
    "SELECT message FROM delivery WHERE ended IS NULL AND state >= ? AND state <= ?"
    " ORDER BY state, message LIMIT 1"
)


def matching(
    connection: Connection,
    selection: Selection,
    columns: str,
    states: Sequence[str] = STATES,
    lock: str = "",
) -> list[Sequence[Any]]:
    """
    Return ``columns`` of the deliveries (``d``, their message ``m`` and lane ``l``) that match.

    :param states: a bound on the states, whatever the selection says.
    :param lock: see :class:`smtprelay.spool.connection.Locking`.
    :raises LookupError: an id of the selection names no message, or several.
    """
    where, parameters = _where(connection, selection)
    found = []
    for state in _states(selection, states):
        # Spelled out, because only then a partial index is known to hold it.
        of_state = f"d.state = '{state}'" + ("" if state in FINAL else " AND d.ended IS NULL")
        found += connection.execute(
            _MATCHING.format(columns=columns, where=" AND ".join([of_state, *where]), lock=lock),
            (*parameters, selection.limit or ANY_NUMBER),
        ).fetchall()
    return found


def summaries(connection: Connection, selection: Selection, paces: Mapping[str, Pace]) -> list[Summary]:
    """Return the lines of the queue that match, the oldest first."""
    rows = sorted(matching(connection, selection, _SUMMARY), key=lambda row: (row[0], row[1]))
    return [_summary(connection, row, paces) for row in rows[: selection.limit]]


def details(connection: Connection, message: str, paces: Mapping[str, Pace]) -> list[Detail]:
    """
    Return all that is known of the deliveries of one message.

    :raises LookupError: there is no such message, or ``message`` is the beginning of several ids.
    """
    rows = sorted(matching(connection, Selection(ids=(message,)), _SUMMARY), key=lambda row: row[1])
    return [
        Detail(
            summary=_summary(connection, row, paces),
            client=json.loads(row[16]),
            message_id=row[17],
            history=_history(connection, row[0], row[1]),
        )
        for row in rows
    ]


def lane_states(connection: Connection) -> list[LaneState]:
    """Return all lanes that ever had something to do."""
    rows = connection.execute(
        "SELECT provider, key, queued + deferred, active, due, blocked_until, blocked_reason, ceiling"
        " FROM lane ORDER BY provider, key"
    ).fetchall()
    return [
        LaneState(
            provider=row[0],
            lane=row[1],
            waiting=row[2],
            active=row[3],
            due=row[4],
            blocked_until=row[5],
            blocked_reason=row[6],
            ceiling=row[7],
        )
        for row in rows
    ]


def counts(connection: Connection) -> tuple[dict[str, int], float | None]:
    """Return how many deliveries are in each state, and when the oldest of them was received."""
    sums = connection.execute(
        "SELECT coalesce(sum(queued), 0), coalesce(sum(active), 0), coalesce(sum(deferred), 0),"
        " coalesce(sum(held), 0) FROM lane"
    ).fetchone()
    first = [connection.execute(_FIRST_IN_STATE, (state, state)).fetchone() for state in _ALIVE]
    oldest = min((row[0] for row in first if row is not None), default=None)
    received = None
    if oldest is not None:
        received = connection.execute("SELECT received FROM message WHERE id = ?", (oldest,)).fetchone()[0]
    return {"queued": sums[0], "active": sums[1], "deferred": sums[2], "held": sums[3]}, received


def alive(connection: Connection) -> int:
    """Return how many deliveries are not at their end, at a cost that does not grow with them."""
    row = connection.execute(
        "SELECT coalesce(sum(queued + active + deferred + held), 0) FROM lane"
    ).fetchone()
    return int(row[0])


def _states(selection: Selection, bound: Sequence[str]) -> list[str]:
    wanted = selection.states or (STATES if selection.ids else _ALIVE)
    return [state for state in wanted if state in bound]


def _where(connection: Connection, selection: Selection) -> tuple[list[str], list[Any]]:
    where: list[str] = []
    parameters: list[Any] = []
    if selection.ids:
        found = [_identified(connection, each) for each in selection.ids]
        where.append("(" + " OR ".join(clause for clause, _ in found) + ")")
        parameters += [value for _, values in found for value in values]
    if selection.provider:
        where.append("l.provider = ?")
        parameters.append(selection.provider)
    if selection.sender:
        where.append("lower(m.sender) LIKE ? ESCAPE '!'")
        parameters.append(_like(selection.sender))
    if selection.recipient:
        where.append(
            "EXISTS (SELECT 1 FROM recipient r WHERE r.message = d.message AND r.n = d.n"
            " AND lower(r.address) LIKE ? ESCAPE '!')"
        )
        parameters.append(_like(selection.recipient))
    return where, parameters


def _identified(connection: Connection, text: str) -> tuple[str, list[Any]]:
    """Return the clause for an id as a person gives it: the beginning of a message's, perhaps with ``.n``."""
    start, _, n = text.strip().partition(".")
    start = canonical(start)
    found = connection.execute(
        "SELECT id FROM message WHERE id >= ? AND id <= ? ORDER BY id LIMIT 2", (start, last_with(start))
    ).fetchall()
    if not found or not start or (n and not n.isdigit()):
        raise LookupError(f"there is no message {text!r}")
    if len(found) > 1:
        raise LookupError(f"several messages begin with {text!r}: {found[0][0]}, {found[1][0]}, …")
    if n:
        return "(d.message = ? AND d.n = ?)", [found[0][0], int(n)]
    return "d.message = ?", [found[0][0]]


def _like(pattern: str) -> str:
    """Return a pattern with ``*`` for anything as one of SQL's."""
    escaped = pattern.lower().replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return escaped.replace("*", "%")


def _summary(connection: Connection, row: Sequence[Any], paces: Mapping[str, Pace]) -> Summary:
    (message, n, state, route, due, reason, uncertain, attempts, sender, size, subject, received, *rest) = row
    provider, key, lane_reason, own_reason, *_ = rest
    recipients = connection.execute(
        "SELECT address, state, reason, provider_id FROM recipient"
        " WHERE message = ? AND n = ? ORDER BY position",
        (message, n),
    ).fetchall()
    waiting_for = ""
    if state in ("queued", "deferred"):
        gone = "" if provider in paces or not paces else f"provider {provider} is not configured any more"
        waiting_for = gone or lane_reason or own_reason or ""
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
        uncertain=bool(uncertain),
    )


def _history(connection: Connection, message: str, n: int) -> list[Attempt]:
    rows = connection.execute(
        "SELECT number, provider, node, started, ended, outcome, reason FROM attempt"
        " WHERE message = ? AND n = ? ORDER BY number",
        (message, n),
    ).fetchall()
    return [
        Attempt(number=a, provider=b, node=c, started=d, ended=e, outcome=f, reason=g)
        for a, b, c, d, e, f, g in rows
    ]
