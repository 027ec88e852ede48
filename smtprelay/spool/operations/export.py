"""
Reads messages for an archive, and removes moved ones.

A page is read in one transaction, so that each archive item is consistent. When a message moves, its queued
deliveries are held in the same transaction: this spool does not send them any more, even if the client that
asked fails.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import evolve

from smtprelay.model.archive import (
    SMALL,
    ArchivedDelivery,
    ArchivedMessage,
    ArchivedRecipient,
    ArchiveItem,
    ArchivePage,
)
from smtprelay.model.outcome import stops_expiry
from smtprelay.model.queue import FINAL, STATES, AttemptRecord, Selection
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.maintenance.retention import remove
from smtprelay.spool.operations.accept import piece
from smtprelay.spool.query.search import matching
from smtprelay.spool.tables.deliveries import (
    ATTEMPT,
    BOUNCED,
    DELAYED,
    LANES,
    attempt_of,
    marks,
    portions,
    shape_of,
    take_lanes,
)
from smtprelay.spool.tables.lane import blocked_time

#: Deliveries of each state in one portion at most, and bytes of bodies, unless one message has more.
_MOST: Final = 25
_MOST_BYTES: Final = 512 * 1024

#: Why a delivery is held while its message moves.
MOVING: Final = "it moves to another spool"

_UNKNOWN: Final = "it was under way when the message was exported"

#: What is asked of each table; after the message, what a delivery is found by.
_MESSAGES: Final = """
    SELECT id, sender, parameters, client, received, size, subject, message_id, bounce_of, finished,
        author, eight_bit, long_lines
    FROM message WHERE id IN ({})"""
_DELIVERIES: Final = f"""
    SELECT d.message, d.n, d.generation, d.route, l.provider, l.key, d.state, d.due, d.ended, d.attempt,
        d.tries, d.errors, d.deferrals, d.uncertain, d.noticed, d.reason, d.blocked_before, d.hold,
        o.blocked_total, o.blocked_since, l.blocked_total, l.blocked_since
    FROM delivery d{LANES} WHERE d.message IN ({{}}) ORDER BY d.message, d.n"""  # noqa: S608 -- constants
_RECIPIENTS: Final = """
    SELECT message, n, address, notify, orcpt, state, reason, provider_id
    FROM recipient WHERE message IN ({}) ORDER BY message, n, position"""
_ATTEMPTS: Final = (
    f"SELECT message, n, {ATTEMPT} FROM attempt WHERE message IN ({{}}) ORDER BY message, n, number"  # noqa: S608
)
_CREDENTIALS: Final = "SELECT message, n, key_id, sealed FROM credential WHERE message IN ({})"
_FENCED: Final = (
    "SELECT message, n, state, lane, attempt FROM delivery WHERE message IN ({}) ORDER BY message, n"
)
_HOLD: Final = (
    "UPDATE delivery SET state = 'held', due = NULL, suspect = 0, node = '', reason = ?"
    " WHERE message = ? AND n = ?"
)
_BODIES: Final = (
    "SELECT message, count(*), sum(length(content)) FROM chunk WHERE message IN ({}) GROUP BY message"
)


def export(tx: Transaction, selection: Selection, mark: str, *, moving: bool) -> ArchivePage:
    """Return the next messages of which a delivery matches, by id, each whole."""
    messages, more = _found(tx, selection, mark)
    if not moving:
        return ArchivePage(items=_items(tx, messages), mark=more)
    # No other node begins with one of them from now on.
    take_lanes(tx, messages)
    rows = _rows(tx, _FENCED + tx.node.locking.row, messages)
    left = {message for message, _, state, *_ in rows if state == "active"}
    items = _items(tx, [message for message in messages if message not in left])
    for message, n, state, number, _ in rows:
        if state in ("queued", "deferred") and message not in left:
            lane = tx.lanes.by_id(number)
            setattr(lane, state, getattr(lane, state) - 1)
            lane.held += 1
            tx.lanes.recheck_in(lane)
            tx.execute(_HOLD, (MOVING, message, n))
    return ArchivePage(items=items, mark=more, left=sorted(left))


def drop(tx: Transaction, messages: Sequence[str], attempts: Mapping[str, int] | None = None) -> list[str]:
    """Drop those of ``messages`` that wait for an operator only, and are as exported; return them."""
    take_lanes(tx, messages)
    rows = _rows(tx, _FENCED + tx.node.locking.row, messages)
    stay = {message for message, _, state, *_ in rows if state not in ("held", *FINAL)}
    if attempts is not None:
        stay |= {each for each, n, _, _, number in rows if attempts.get(f"{each}.{n}") != number}
    gone = [message for message in dict.fromkeys(message for message, *_ in rows) if message not in stay]
    for message, _, state, number, _ in rows:
        if state == "held" and message not in stay:
            tx.lanes.by_id(number).held -= 1
    remove(tx, gone)
    return gone


def _found(tx: Transaction, selection: Selection, mark: str) -> tuple[list[str], str]:
    """Return the next messages that match, and the mark behind them: the last id, ``""`` at the end."""
    found: set[str] = set()
    # Of a state that has more, what comes behind the last one is not known: nothing behind it is taken yet.
    known = ""
    for state in selection.states or [each for each in STATES if selection.ids or each not in FINAL]:
        some = evolve(selection, states=(state,), limit=_MOST)
        rows = matching(tx, some, state, after=mark)
        found.update(message for (message,) in rows)
        if len(rows) == _MOST:
            known = min(known or rows[-1][0], rows[-1][0])
    return sorted(message for message in found if not known or message <= known), known


# --- from rows to archive items

_Rows = Mapping[tuple[str, int], Sequence[Sequence[Any]]]


def _items(tx: Transaction, messages: Sequence[str]) -> list[ArchiveItem]:
    bodies = {message: (count, size) for message, count, size in _rows(tx, _BODIES, messages)}
    recipients, attempts, credentials = (
        _grouped(_rows(tx, sql, messages)) for sql in (_RECIPIENTS, _ATTEMPTS, _CREDENTIALS)
    )
    deliveries: dict[str, list[ArchivedDelivery]] = {}
    for row in _rows(tx, _DELIVERIES, messages):
        delivery = _delivery(tx, row, recipients, attempts, credentials)
        deliveries.setdefault(row[0], []).append(delivery)
    items = []
    left = _MOST_BYTES
    for row in sorted(_rows(tx, _MESSAGES, messages), key=lambda row: str(row[0])):
        message, sender, parameters, client, *rest = row
        archived = ArchivedMessage(
            id=message,
            sender=sender,
            parameters=json.loads(parameters),
            client=json.loads(client),
            received=rest[0],
            size=rest[1],
            subject=rest[2],
            message_id=rest[3],
            bounce_of=rest[4],
            finished=rest[5],
            author=rest[6],
            shape=shape_of(rest[1], *rest[7:]),
            body=message in bodies,
            deliveries=tuple(deliveries.get(message, ())),
        )
        count, size = bodies.get(message, (0, 0))
        content = None
        if count == 1 and size <= min(SMALL, left):
            content = piece(tx, message, 1)
            left -= size
        items.append(ArchiveItem(archived=archived, content=content))
    return items


def _blocked(lane: str, times: Sequence[Any], now: float) -> float:
    """Return the seconds of :meth:`LaneTable.blocked_time`; the rows may belong to others."""
    total, since, own_total, own_since = times
    whole = blocked_time(total or 0.0, since, now)
    return whole + blocked_time(own_total, own_since, now) if lane and stops_expiry(lane) else whole


def _delivery(
    tx: Transaction, row: Sequence[Any], recipients: _Rows, attempts: _Rows, credentials: _Rows
) -> ArchivedDelivery:
    (message, n, generation, route, provider, lane, state, due, ended, attempt, tries, errors, *rest) = row
    deferrals, uncertain, noticed, reason, blocked_before, hold, *times = rest
    if state == "active" or (state == "held" and reason == MOVING):
        uncertain = uncertain or state == "active"
        state, due, reason = "queued", tx.now, _UNKNOWN if state == "active" else ""
    key_id, sealed = next(iter(credentials.get((message, n), ())), ("", b""))
    return ArchivedDelivery(
        n=n,
        generation=generation,
        route=route,
        provider=provider,
        lane=lane,
        state=state,
        due=due,
        ended=ended,
        attempt=attempt,
        tries=tries,
        deferrals=deferrals,
        errors=errors,
        uncertain=bool(uncertain),
        noticed=bool(noticed & DELAYED),
        bounced=bool(noticed & BOUNCED),
        blocked=max(0.0, _blocked(lane, times, tx.now) - blocked_before),
        reason=reason,
        hold=hold,
        recipients=tuple(
            ArchivedRecipient(address=a, notify=y, orcpt=o, state=s, reason=r, provider_id=i)
            for a, y, o, s, r, i in recipients.get((message, n), ())
        ),
        attempts=tuple(_attempt(each, tx.now) for each in attempts.get((message, n), ())),
        key_id=key_id,
        sealed=base64.b64encode(sealed).decode(),
    )


def _attempt(row: Sequence[Any], now: float) -> AttemptRecord:
    attempt = attempt_of(row)
    unknown = evolve(attempt, ended=now, outcome="uncertain", reason=_UNKNOWN)
    return unknown if attempt.ended is None else attempt


def _rows(tx: Transaction, sql: str, messages: Sequence[str]) -> list[Sequence[Any]]:
    return [
        row for some in portions(messages) for row in tx.execute(sql.format(marks(some)), some).fetchall()
    ]


def _grouped(rows: Sequence[Sequence[Any]]) -> dict[tuple[str, int], list[Sequence[Any]]]:
    """Return rows by their delivery, which they begin with."""
    grouped: dict[tuple[str, int], list[Sequence[Any]]] = {}
    for message, n, *rest in rows:
        grouped.setdefault((message, n), []).append(rest)
    return grouped
