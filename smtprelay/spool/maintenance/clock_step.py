"""
The clock was put forward or back: what is written with the old time in it is put right.

Nobody waited during a step. So mail does not grow older by it, which would expire a whole queue at once,
and what was to go in ten minutes still goes in ten minutes, not after the days that a clock was put back.
"""

from typing import Final

from smtprelay.model.queue import SUSPENDED
from smtprelay.spool.engines.transaction import Transaction

#: A smaller step back is sat out: to look through all that waits would not be worth it. Seconds.
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


def pull(tx: Transaction, seconds: float, limit: int) -> int:
    """
    Have up to ``limit`` deliveries go at their time after the clock was put back by ``seconds``.

    Returns how many; to be called until that is none. What was deferred since the step is due much sooner
    than it was long, and is left alone.
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
