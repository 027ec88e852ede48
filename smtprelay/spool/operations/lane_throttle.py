"""
Adapts a lane's concurrency to the provider's throttling.

The configured rates are the limits that the operator knows; this finds those that are not configured. When a
provider throttles, the lane sends fewer requests at once, and a little more again with each answer (additive
increase, multiplicative decrease, like TCP). The limit is the lane's ``ceiling``, a number of requests at
once; below one, single requests go at intervals. A throttled answer also closes the lane for a moment, twice
as long for each one in a row, and then one request goes alone. So of a hundred thousand queued mails few are
refused.

The state is stored with the lane: all nodes share it.
"""

from collections.abc import Collection
from typing import Final

from smtprelay.model.attempt import Claim
from smtprelay.model.outcome import Deferred, Delivered, Failed, Outcome, Throttled
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.tables.lane import Lane

#: What is left of the ceiling after a complaint. Half of it, as TCP has it, keeps a steady limit
#: at three quarters of what would go.
_CUT: Final = 0.7
#: What an answer adds to it, below one in proportion to it.
_STEP: Final = 0.01
#: Seconds after the last throttling when it grows faster: after twice that time twice as fast, and so on.
_CALM: Final = 10.0
_LEAST: Final = 0.002
#: How long the lane is closed after a complaint, and at most after many in a row, seconds.
_PAUSE: Final = 0.25
_LONGEST: Final = 60.0

#: The outcomes that show that a lane works, whatever they say of the mail.
_ANSWERS: Final = (Delivered, Deferred, Failed)


def learn(tx: Transaction, lane: Lane, outcomes: Collection[Outcome], begun: Claim | float) -> None:
    """
    Adapt ``lane`` to what became of a request in it: it was asked for too much, it works, or neither.

    :param begun: the claim, or when the request began by the clock of the spool.
    """
    own = tx.lanes.own(lane)
    for outcome in outcomes:
        if isinstance(outcome, Throttled):
            slow = lane if outcome.lane else own
            throttled(slow, tx.now, _begin_of(tx, begun), _bound(tx, slow))
            return
    if any(isinstance(outcome, _ANSWERS) for outcome in outcomes):
        for each in (own,) if lane is own else (own, lane):
            if each.ceiling is None or answered(each, _begin_of(tx, begun), _bound(tx, each)):
                each.trial = 0


def throttled(lane: Lane, now: float, started: float, bound: int) -> None:
    """
    Slow down, unless what was asked at ``started`` was asked before the lane slowed down last.

    :param bound: how many may be asked at once by the configuration.
    """
    if started < lane.cut:
        return
    if lane.pause == 0:
        lane.ceiling = max(_LEAST, _CUT * min(bound, lane.ceiling or bound))
    lane.pause = min(_LONGEST, max(_PAUSE, 2 * lane.pause))
    lane.cut, lane.opens, lane.trial = now, now + lane.pause, 1


def answered(lane: Lane, started: float, bound: int) -> bool:
    """Go a little faster; ``False`` if what was asked at ``started`` says nothing of how fast it is now."""
    if lane.ceiling is None or started < lane.cut:
        return False
    lane.pause = 0.0
    lane.ceiling += _STEP * max(1.0, (started - lane.cut) / _CALM) * min(1.0, lane.ceiling)
    if lane.ceiling >= bound:
        lane.ceiling = None
    return True


def begun(lane: Lane, now: float) -> None:
    """Note that a request begins in ``lane``: if there is an interval, it begins, too."""
    if lane.interval:
        lane.opens = now + lane.interval


def _bound(tx: Transaction, lane: Lane) -> int:
    rate_limit = tx.node.rate_limits.get(lane.provider)
    if rate_limit is None:
        return 1
    return (
        rate_limit.concurrency
        if lane.key == ""
        else min(rate_limit.concurrency, rate_limit.per_lane or rate_limit.concurrency)
    )


def _begin_of(tx: Transaction, begun: Claim | float) -> float:
    """Return when a request began; of a claim that is asked for only where it matters."""
    if not isinstance(begun, Claim):
        return begun
    row = tx.execute(
        "SELECT started FROM attempt WHERE message = ? AND n = ? AND number = ?",
        (begun.delivery.message, begun.delivery.n, begun.attempt),
    ).fetchone()
    return tx.now if row is None else float(row[0])
