"""
Who may go now: blocked and throttled lanes, free slots and the pace, in one place.

A delivery that is under way occupies a slot of its lane and of its provider's own
lane until the provider has the body; the provider's own lane also counts the pace.
"""

from smtprelay.model import rate_limit as windows
from smtprelay.model.route import RateLimit
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.operations import lane_throttle
from smtprelay.spool.tables.lanes import ANY_NUMBER, Lane


class LaneGate:
    """
    What one provider allows in this transaction.

    :ivar own: the provider's own lane.
    :ivar room: how many more may go now, over all lanes.
    :ivar per_lane: how many at once in one lane.
    """

    def __init__(self, tx: Transaction, provider: str, pace: RateLimit) -> None:
        self._now = tx.now
        self._pace = pace
        self.per_lane = ANY_NUMBER if pace.per_lane is None else pace.per_lane
        self.own = tx.lanes.get(provider, "")
        self.own.resume_in_time(tx.now)
        self._counts = self.own.counts(pace) if pace.windows else []
        allowed, _ = windows.allowance(pace.windows, self._counts, tx.now)
        free = self.own.room(pace.concurrency)
        self.room = free if allowed is None else min(free, allowed)
        if self.own.blocked_until is not None or self.own.opens > tx.now:
            self.room = 0

    def room_in(self, lane: Lane) -> int:
        """Return how many deliveries of ``lane`` may go now."""
        if self.room < 1 or lane.blocked_until is not None or lane.opens > self._now:
            return 0
        return self.room if lane is self.own else min(self.room, lane.room(self.per_lane))

    def opens(self) -> float:
        """Return when the pace, and what the provider bears, allow more: now, or later."""
        allowed, when = windows.allowance(self._pace.windows, self._counts, self._now)
        return max(when if allowed == 0 else self._now, self.own.opens)

    def occupy(self, lane: Lane) -> None:
        """Take a slot, and a token of each window, for one delivery of ``lane``."""
        lane.active += 1
        self.lend(lane)

    def lend(self, lane: Lane) -> None:
        """Do so for a request that is no delivery of the spool."""
        self.room -= 1
        self.own.slots += 1
        lane_throttle.begun(self.own, self._now)
        if lane is not self.own:
            lane.slots += 1
            lane_throttle.begun(lane, self._now)
        lane.served = self._now
        if self._pace.windows:
            self._counts = list(windows.spend(self._pace.windows, self._counts, self._now, 1))
            self.own.count(self._pace, self._counts)


def release(tx: Transaction, lane: Lane) -> None:
    """Give back the slot that a delivery of ``lane`` occupied, or a loan."""
    own = tx.lanes.own(lane)
    own.slots = max(0, own.slots - 1)
    if lane is not own:
        lane.slots = max(0, lane.slots - 1)
