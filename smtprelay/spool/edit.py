"""
What an operator does to deliveries: retry, hold, release, delete.

Every act is written into the delivery's history with who did it and why. A
delivery that is under way cannot be held or deleted from under its attempt; it is
left alone and not counted.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from attrs import evolve

from smtprelay.queue import Edit, Selection
from smtprelay.spool.connection import Transaction
from smtprelay.spool.delivered import finish
from smtprelay.spool.query import matching


def edit(tx: Transaction, selection: Selection, change: Edit) -> list[str]:
    """
    Carry out ``change`` on all deliveries that match; return their ids.

    :raises LookupError: an id of the selection names no delivery, or several messages.
    :raises ValueError: there is no such action, or nothing is selected and ``everything`` is not said.
    """
    if change.action not in _ACTIONS:
        raise ValueError(f"there is no action {change.action!r}: {', '.join(_ACTIONS)}")
    selection = evolve(selection, limit=0)
    wants = (selection.ids, selection.states, selection.provider, selection.sender, selection.recipient)
    if not any(wants) and not selection.everything:
        raise ValueError("nothing is selected: name ids or a filter, or say that you mean everything")
    states, act = _ACTIONS[change.action]
    done = []
    columns = "d.message, d.n, d.state, d.lane, d.attempt, d.reason"
    for row in matching(tx, selection, columns, states, tx.locking.delivery):
        act(tx, row)
        _record(tx, row, change)
        done.append(f"{row[0]}.{row[1]}")
    return done


def _leave_queue(tx: Transaction, row: Sequence[Any]) -> None:
    """Take a delivery out of its lane's count."""
    state, lane = row[2], tx.lanes.by_id(row[3])
    if state in ("queued", "deferred", "held"):
        setattr(lane, state, getattr(lane, state) - 1)


def _retry(tx: Transaction, row: Sequence[Any]) -> None:
    """Make it due now. After a terminal failure this is a new generation: all that failed goes again."""
    message, n, state, number = row[:4]
    _leave_queue(tx, row)
    tx.lanes.by_id(number).wait("queued", tx.now)
    generation = 0
    if state == "failed":
        generation = 1
        tx.execute(
            "UPDATE recipient SET state = 'open' WHERE message = ? AND n = ? AND state = 'failed'",
            (message, n),
        )
        tx.execute("UPDATE message SET finished = NULL WHERE id = ?", (message,))
    tx.execute(
        "UPDATE delivery SET state = 'queued', due = ?, ended = NULL, tries = 0, deferrals = 0,"
        " errors = 0, generation = generation + ? WHERE message = ? AND n = ?",
        (tx.now, generation, message, n),
    )


def _hold(tx: Transaction, row: Sequence[Any]) -> None:
    _leave_queue(tx, row)
    tx.lanes.by_id(row[3]).held += 1
    tx.execute(
        "UPDATE delivery SET state = 'held', due = NULL, reason = 'held by an operator'"
        " WHERE message = ? AND n = ?",
        row[:2],
    )


def _delete(tx: Transaction, row: Sequence[Any]) -> None:
    """End it without a bounce, visibly: it stays in the history as failed."""
    message, n = row[:2]
    _leave_queue(tx, row)
    tx.execute(
        "UPDATE delivery SET state = 'failed', due = NULL, ended = ?, reason = 'deleted by an operator'"
        " WHERE message = ? AND n = ?",
        (tx.now, message, n),
    )
    tx.execute(
        "UPDATE recipient SET state = 'failed', reason = 'deleted by an operator'"
        " WHERE message = ? AND n = ? AND state = 'open'",
        (message, n),
    )
    finish(tx, [message])


def _record(tx: Transaction, row: Sequence[Any], change: Edit) -> None:
    """Write the act into the history, as an attempt that is over."""
    message, n, _, number, attempt, _ = row
    provider = tx.lanes.by_id(number).provider
    reason = f"by {change.who}" + (f": {change.why}" if change.why else "")
    tx.execute("UPDATE delivery SET attempt = ? WHERE message = ? AND n = ?", (attempt + 1, message, n))
    tx.insert("attempt", (message, n, attempt + 1, provider, tx.node, tx.now, tx.now, change.action, reason))


#: For each action the states in which it makes sense, and what it does.
_ACTIONS: Final[dict[str, tuple[Sequence[str], Callable[[Transaction, Sequence[Any]], None]]]] = {
    "retry": (("queued", "deferred", "held", "failed"), _retry),
    "hold": (("queued", "deferred"), _hold),
    "release": (("held",), _retry),
    "delete": (("queued", "deferred", "held"), _delete),
}
