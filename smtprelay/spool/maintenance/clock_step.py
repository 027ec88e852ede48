"""
Shifts stored times after the system clock was changed.

A step is no time that mail has waited. So mail does not get older by it, which would expire a whole queue at
once, and what is due in ten minutes stays due in ten minutes, even if the clock was set back by days.
"""

from typing import Final

from smtprelay.model.queue import SUSPENDED
from smtprelay.spool.engines.transaction import Transaction

#: Seconds; a smaller step back is ignored: scanning the whole queue would not be worth it.
SMALL: Final = 3600.0


def shift_lanes(tx: Transaction, seconds: float) -> None:
    """Shift the times of all lanes; for the age of mail the step counts as time in a blocked lane."""
    for lane in tx.lanes.all():
        if lane.blocked_until is not None and lane.blocked_until != SUSPENDED:
            lane.blocked_until += seconds
        if lane.blocked_since is not None:
            lane.blocked_since += seconds
        if lane.resumes is not None:
            lane.resumes += seconds
        lane.cut, lane.opens = lane.cut + seconds, lane.opens + seconds
        if lane.key == "":
            lane.blocked_total += seconds
        if seconds < 0 and lane.due is not None:
            lane.due_at(tx.now)


def shift_deliveries(tx: Transaction, seconds: float, limit: int) -> int:
    """
    Correct the due times of up to ``limit`` deliveries after the system clock was set back by ``seconds``.

    Returns how many; call it until it returns 0. What was deferred since the step is due much sooner than it
    was long, and is not changed.
    """
    if seconds < SMALL:
        return 0
    done = 0
    for lane in tx.lanes.all():
        rows = tx.execute(
            "SELECT message, n, due FROM delivery WHERE lane = ? AND due > ? ORDER BY due DESC LIMIT ?",
            (lane.id, tx.now + seconds / 2, limit - done),
        ).fetchall()
        for message, n, due in rows:
            tx.execute("UPDATE delivery SET due = ? WHERE message = ? AND n = ?", (due - seconds, message, n))
            lane.due_at(due - seconds)
        done += len(rows)
        if done >= limit:
            break
    return done
