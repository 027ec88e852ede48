"""
What is done to deliveries between their attempts: retry, hold, release, delete, reroute.

Each change is written into the history of its delivery with who made it and why. A delivery that is under way
is not held or deleted during its attempt: it is left unchanged. So is one that has changed since it was read:
the number of its attempt shows that.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import frozen

from smtprelay.model.message import Planned, Recipient
from smtprelay.model.queue import Edit
from smtprelay.model.queue_admin import Prepared
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.operations.dsn_accept import enclose
from smtprelay.spool.operations.settle_delivered import finish
from smtprelay.spool.tables.deliveries import DELAYED, first_due, marks, portions, storable, take_lanes
from smtprelay.spool.tables.hold_rules import note
from smtprelay.spool.tables.lane import Lane

_DROP_DELETED: Final = """
    DELETE FROM chunk WHERE message IN ({}) AND NOT EXISTS (
        SELECT 1 FROM delivery WHERE delivery.message = chunk.message AND state <> 'deleted')"""

#: Deliveries that one transaction changes at most: others wait for it.
MOST_AT_ONCE: Final = 200


@frozen
class EditedDelivery:
    """A delivery that is to be changed, as it is now."""

    message: str
    n: int
    state: str
    lane: int
    attempt: int
    blocked_before: float
    due: float | None

    @property
    def where(self) -> tuple[str, int]:
        """The key of the delivery in the tables."""
        return self.message, self.n


@frozen
class EditAction:
    """
    A kind of change.

    :ivar states: in which it makes sense.
    :ivar do: changes one delivery; ``False`` if it is left unchanged after all.
    :ivar then: what is done at the end, to the messages of all of them.
    """

    states: Sequence[str]
    do: Callable[[Transaction, EditedDelivery, Edit, Prepared], bool]
    then: Callable[[Transaction, Sequence[str]], object] = lambda _tx, _messages: None


def edit(
    tx: Transaction, fences: Mapping[tuple[str, int], int], change: Edit, prepared: Mapping[str, Prepared]
) -> list[str]:
    """
    Carry out ``change`` on those deliveries that are as they were; return their ids.

    :param fences: the attempt's number of each delivery, by message and number.
    :param prepared: by id; what is not there needs nothing.
    """
    action = EDIT_ACTIONS[change.action]
    done = []
    messages: dict[str, None] = {}
    others = (each.provider for each in prepared.values())
    take_lanes(tx, {message for message, _ in fences}, change.provider, *others)
    rows = _rows(tx, fences, action.states)
    for row in rows:
        name = f"{row.message}.{row.n}"
        provider = tx.lanes.by_id(row.lane).provider
        needs = prepared.get(name, Prepared())
        if action.do(tx, row, change, needs):
            _record(tx, row, change, provider, change.provider or needs.provider)
            done.append(name)
            messages[row.message] = None
    for some in portions(list(messages)):
        action.then(tx, some)
    for number in {row.lane for row in rows}:
        lane = tx.lanes.by_id(number)
        lane.due = first_due(tx, lane)
    return done


def _rows(
    tx: Transaction, fences: Mapping[tuple[str, int], int], states: Sequence[str]
) -> list[EditedDelivery]:
    rows = []
    messages = sorted({message for message, _ in fences})
    for some in portions(messages):
        rows += tx.execute(
            "SELECT d.message, d.n, d.state, d.lane, d.attempt, d.blocked_before, d.due FROM delivery d"  # noqa: S608
            f" WHERE d.message IN ({marks(some)}) ORDER BY d.message, d.n{tx.node.locking.delivery}",
            some,
        ).fetchall()
    found = [EditedDelivery(*row) for row in rows]
    return [row for row in found if fences.get(row.where) == row.attempt and row.state in states]


def _leave_queue(tx: Transaction, row: EditedDelivery) -> Lane:
    """Take a delivery out of its lane's count, and let nothing wait for it; return the lane."""
    lane = tx.lanes.by_id(row.lane)
    count = "finished" if row.state == "failed" else row.state
    setattr(lane, count, getattr(lane, count) - 1)
    tx.lanes.recheck_in(lane)
    return lane


def _wait(tx: Transaction, row: EditedDelivery, lane: Lane, due: float) -> None:
    """Let a delivery wait in ``lane`` until ``due``, with all its tries before it."""
    state = "queued" if due <= tx.now else "deferred"
    lane.wait(state, due)
    tx.execute(
        "UPDATE delivery SET state = ?, due = ?, lane = ?, blocked_before = ?, ended = NULL, tries = 0,"
        " deferrals = 0, errors = 0, hold = 0, suspect = 0, node = '' WHERE message = ? AND n = ?",
        (state, due, lane.id, _blocked_before(tx, row, lane), *row.where),
    )


def _blocked_before(tx: Transaction, row: EditedDelivery, lane: Lane) -> float:
    """Return what a delivery has waited in vain, as it counts in ``lane``."""
    return row.blocked_before + tx.lanes.blocked_time(lane) - tx.lanes.blocked_time(tx.lanes.by_id(row.lane))


def _reopen(tx: Transaction, row: EditedDelivery) -> None:
    """After a terminal failure all that failed goes again."""
    tx.execute(
        "UPDATE recipient SET state = 'open' WHERE message = ? AND n = ? AND state = 'failed'", row.where
    )
    tx.execute("UPDATE message SET finished = NULL WHERE id = ?", (row.message,))
    # If it fails again its sender is notified again.
    tx.execute(
        f"UPDATE delivery SET noticed = noticed & {DELAYED} WHERE message = ? AND n = ?",  # noqa: S608
        row.where,
    )


def _new_operation(tx: Transaction, row: EditedDelivery, where: str = "") -> None:
    """The provider shall see a new operation."""
    sql = f"UPDATE delivery SET generation = generation + 1 WHERE message = ? AND n = ?{where}"  # noqa: S608
    tx.execute(sql, row.where)


def _retry(tx: Transaction, row: EditedDelivery, change: Edit, _prepared: Prepared) -> bool:
    lane = _leave_queue(tx, row)
    if row.state == "failed":
        _reopen(tx, row)
        # One that failed in doubt may have arrived: the provider is asked for its old operation first.
        _new_operation(tx, row, " AND uncertain = 0")
    _wait(tx, row, lane, tx.now if change.at is None else max(change.at, tx.now))
    if row.state == "held":
        # Why it was held is in its history.
        tx.execute("UPDATE delivery SET reason = '' WHERE message = ? AND n = ?", row.where)
    return True


def _hold(tx: Transaction, row: EditedDelivery, change: Edit, _prepared: Prepared) -> bool:
    _leave_queue(tx, row).held += 1
    tx.execute(
        "UPDATE delivery SET state = 'held', due = NULL, hold = ?, suspect = 0, node = '', reason = ?"
        " WHERE message = ? AND n = ?",
        (change.rule, storable(_because("held", change)), *row.where),
    )
    return True


def _release(tx: Transaction, row: EditedDelivery, change: Edit, prepared: Prepared) -> bool:
    """When a rule has ended, another one may hold the delivery still."""
    if change.rule:
        rule = tx.hold_rules.match(*_planned(tx, row), tx.now)
        if rule is not None:
            note(tx, row.where, rule)
            return False
    return _retry(tx, row, change, prepared)


def _delete(tx: Transaction, row: EditedDelivery, change: Edit, prepared: Prepared) -> bool:
    """End it for good: its history stays; :func:`_forget` does the rest."""
    _leave_queue(tx, row).finished += 1
    reason = storable(_because("deleted", change))
    tx.execute(
        "UPDATE delivery SET state = 'deleted', due = NULL, ended = ?, hold = 0, suspect = 0, node = '',"
        " reason = ? WHERE message = ? AND n = ?",
        (tx.now, reason, *row.where),
    )
    tx.execute(
        "UPDATE recipient SET state = 'deleted', reason = ? WHERE message = ? AND n = ? AND state = 'open'",
        (reason, *row.where),
    )
    tx.execute("DELETE FROM credential WHERE message = ? AND n = ?", row.where)
    if prepared.bounce is not None:
        enclose(tx, prepared.bounce)
    return True


def _forget(tx: Transaction, messages: Sequence[str]) -> None:
    """What was deleted whole ends; so does its body, also where bodies are kept for a while."""
    finish(tx, messages)
    tx.execute(_DROP_DELETED.format(marks(messages)), messages)


def _reroute(tx: Transaction, row: EditedDelivery, change: Edit, prepared: Prepared) -> bool:
    """What is held stays held: whoever held it did not mean the provider."""
    before = tx.lanes.by_id(row.lane)
    following = tx.lanes.get(change.provider or prepared.provider, prepared.lane)
    # By itself the relay reroutes what is due, and to where it does not only wait again.
    stopped = any(each.blocked_until is not None for each in (following, tx.lanes.own(following)))
    if not change.provider and (stopped or row.due is None or row.due > tx.now):
        return False
    _leave_queue(tx, row)
    if row.state == "failed":
        _reopen(tx, row)
    if change.provider:
        _new_operation(tx, row)
    if row.state == "held":
        following.held += 1
        _into(tx, row, following)
        return True
    if change.provider:
        _wait(tx, row, following, tx.now)
    else:
        following.wait(row.state, tx.now if row.due is None else row.due)
        _into(tx, row, following)
    tx.execute(
        "UPDATE delivery SET uncertain = 0, reason = ? WHERE message = ? AND n = ?",
        (storable(_because(f"rerouted from {before.provider}", change)), *row.where),
    )
    return True


def _into(tx: Transaction, row: EditedDelivery, lane: Lane) -> None:
    """Put a delivery into ``lane`` as it is, and at its place in time."""
    tx.execute(
        "UPDATE delivery SET lane = ?, blocked_before = ?, tries = 0, uncertain = 0, suspect = 0, node = ''"
        " WHERE message = ? AND n = ?",
        (lane.id, _blocked_before(tx, row, lane), *row.where),
    )


def _planned(tx: Transaction, row: EditedDelivery) -> tuple[str, Planned]:
    """Return the sender of a delivery, and where it goes."""
    sender, route = tx.execute(
        "SELECT m.sender, d.route FROM delivery d JOIN message m ON m.id = d.message"
        " WHERE d.message = ? AND d.n = ?",
        row.where,
    ).fetchone()
    addresses = tx.execute(
        "SELECT address FROM recipient WHERE message = ? AND n = ? AND state = 'open'", row.where
    ).fetchall()
    lane = tx.lanes.by_id(row.lane)
    recipients = tuple(Recipient(address=each) for (each,) in addresses)
    return sender, Planned(route=route, provider=lane.provider, lane=lane.key, recipients=recipients)


def _because(done: str, change: Edit) -> str:
    """Return why something was done, as it stands with the delivery."""
    whose = f"by rule {change.rule}" if change.rule else f"by {change.who}"
    return f"{done} {whose}" + (f": {change.why}" if change.why else "")


def _record(tx: Transaction, row: EditedDelivery, change: Edit, provider: str, to: str) -> None:
    """Write the change into the history, as an attempt that is over."""
    number = row.attempt + 1
    what = f"to {to}, " if to else ""
    if change.at is not None:
        what = time.strftime("at %Y-%m-%d %H:%M:%S UTC, ", time.gmtime(change.at))
    reason = storable(f"{what}by {change.who}" + (f": {change.why}" if change.why else ""))
    tx.execute("UPDATE delivery SET attempt = ? WHERE message = ? AND n = ?", (number, *row.where))
    tx.insert("attempt", (*row.where, number, provider, tx.node.name, tx.now, tx.now, change.action, reason))


#: Every kind of change there is.
EDIT_ACTIONS: Final[dict[str, EditAction]] = {
    "retry": EditAction(("queued", "deferred", "held", "failed"), _retry),
    "hold": EditAction(("queued", "deferred"), _hold),
    "release": EditAction(("held",), _release),
    "delete": EditAction(("queued", "deferred", "held", "failed"), _delete, _forget),
    "reroute": EditAction(("queued", "deferred", "held", "failed"), _reroute),
}
