"""
Reports to senders: what they are about, and how they become mail.

A report is accepted in the transaction of what it tells, so that it is never sent twice and never lost. What
has waited too long is found by going along the ids of what is alive, which sort by time: the cost of a look
does not grow with the queue.
"""

from itertools import takewhile
from typing import Final

from smtprelay.mime.head import head_of, message_id_of, subject_of
from smtprelay.model.attempt import NewMessage
from smtprelay.model.message import Delivery
from smtprelay.model.queue import FINAL, STATES, Overdue, OverduePage
from smtprelay.model.shape import shape_of
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.operations.accept import CHUNK, Arrival, accept
from smtprelay.spool.tables.deliveries import COLUMNS, DELAYED, EDITS, WIDTH, deliveries_of, storable

#: One state at a time, because each comes in order from the index; all in one statement, because a delivery
#: that changes its state between two would be in neither.
_ALIVE: Final = " UNION ALL ".join(
    "SELECT * FROM (SELECT d.message, d.n, m.received, d.noticed, m.sender, m.bounce_of"  # noqa: S608
    " FROM delivery d JOIN message m ON m.id = d.message"
    f" WHERE d.state = '{state}' AND d.ended IS NULL AND d.message >= ? AND (d.message > ? OR d.n > ?)"
    f" ORDER BY d.message, d.n LIMIT ?) AS page_of_{state}"
    for state in STATES
    if state not in FINAL
)
_STATES: Final = len(STATES) - len(FINAL)

_ONE: Final = f"""
    SELECT {COLUMNS}, d.lane, d.state, d.reason, d.blocked_before, (
        SELECT max(a.started) FROM attempt a WHERE a.message = d.message AND a.n = d.n
            AND a.outcome NOT IN ({EDITS}))
    FROM delivery d JOIN message m ON m.id = d.message
    WHERE d.message = ? AND d.n = ?"""  # noqa: S608 -- constants


def overdue(tx: Transaction, before: float, mark: tuple[str, int] = ("", 0), limit: int = 200) -> OverduePage:
    """Return a page of open deliveries that came until ``before`` without a delay notice, oldest first."""
    message, n = mark
    rows = sorted(tx.execute(_ALIVE, (message, message, n, limit) * _STATES).fetchall())[:limit]
    old = list(takewhile(lambda row: row[2] <= before, rows))
    return OverduePage(
        # Somebody is to be notified, and has not been yet.
        deliveries=[
            _overdue(tx, message, n)
            for message, n, _, noticed, sender, bounce_of in old
            if sender and not bounce_of and not noticed & DELAYED
        ],
        mark=(old[-1][0], old[-1][1]) if old else mark,
        more=len(old) == limit,
    )


def notify(tx: Transaction, delivery: Delivery, notice: NewMessage) -> bool:
    """Accept ``notice`` unless the delivery ended or had one; tell whether it was accepted."""
    noticed = tx.execute(
        f"UPDATE delivery SET noticed = noticed | {DELAYED} WHERE message = ? AND n = ? AND ended IS NULL"  # noqa: S608
        f" AND noticed & {DELAYED} = 0 RETURNING n",
        (delivery.message, delivery.n),
    ).fetchone()
    if noticed is not None:
        enclose(tx, notice)
    return noticed is not None


def enclose(tx: Transaction, new: NewMessage) -> None:
    """Accept a mail of our own in the transaction of what it tells; it is queued."""
    body, message = new.body, new.draft.id
    pieces = [body[start : start + CHUNK] for start in range(0, len(body), CHUNK)] or [b""]
    for n, piece in enumerate(pieces[:-1], start=1):
        tx.insert("chunk", (message, n, piece))
    head = head_of(body)
    arrival = Arrival(
        draft=new.draft,
        shape=shape_of(body),
        subject=storable(new.subject or subject_of(head)),
        message_id=storable(message_id_of(head)),
        planned=new.planned,
        chunks=len(pieces) - 1,
        rest=pieces[-1],
    )
    accept(tx, arrival, claiming=False)


def _overdue(tx: Transaction, message: str, n: int) -> Overdue:
    row = tx.execute(_ONE, (message, n)).fetchone()
    number, state, reason, blocked_before, attempted = row[WIDTH:]
    lane = tx.lanes.by_id(number)
    (delivery,) = deliveries_of(tx, lane.place, [row])
    return Overdue(
        delivery=delivery,
        state=state,
        reason=reason or lane.blocked_reason or tx.lanes.own(lane).blocked_reason,
        age=tx.now - delivery.received - (tx.lanes.blocked_time(lane) - blocked_before),
        attempted=attempted,
    )
