"""
Who may go now: blocked and throttled lanes, free slots and the rates, in one place.

A delivery that is under way occupies a slot of its lane and of its provider's own
lane until the provider has the body; each of the two also counts its rate.
"""

from typing import Final

from smtprelay.model.rate_limit import LEAST, Load
from smtprelay.model.route import RateLimit
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.operations import lane_throttle
from smtprelay.spool.tables.lane import Lane

#: Without a bound of its own a lane has at most so many slots for each that stays free. So one that is slow
#: leaves a slot to the others, and several that are slow do.
_SHARE: Final = 4

#: Between the times at which two lanes were served, at least, seconds; many are within one transaction.
_TICK: Final = 1e-6


class LaneGate:
    """
    What one provider allows in this transaction.

    :ivar own: the provider's own lane.
    """

    def __init__(self, tx: Transaction, provider: str, pace: RateLimit) -> None:
        self._now = tx.now
        self._pace = pace
        self.own = tx.lanes.get(provider, "")
        if self.own.resumes is not None and self.own.resumes <= tx.now:
            self.own.open(tx.now, trial=False)  # the time for which it was suspended is over
            tx.lanes.leave(provider)

    def room_in(self, lane: Lane, load: Load = LEAST) -> int:
        """Return how many requests of this load may go in ``lane`` now; in :attr:`own`: over all lanes."""
        room = self.own.room(self._pace, self._now, load)
        if room < 1 or lane is self.own:
            return room
        if self._pace.per_lane is None:
            room = min(room, -(-(_SHARE * self.own.free(self._pace) - lane.slots) // (_SHARE + 1)))
        return max(0, min(room, lane.room(self._pace, self._now, load)))

    def opens_in(self, lane: Lane, load: Load = LEAST) -> float:
        """Return when the rates, and what the provider bears, allow a request in ``lane``: now, or later."""
        return max(each.opens_at(self._pace, self._now, load) for each in (self.own, lane))

    def wait_for(self, lane: Lane, load: Load) -> None:
        """Let nothing go until the rates have room for this load: smaller mail would go first for ever."""
        for each in (self.own, lane):
            each.opens = each.opens_at(self._pace, self._now, load)

    def occupy(self, lane: Lane, load: Load) -> None:
        """Take a slot and count the rate for one delivery of ``lane``."""
        lane.active += 1
        self.lend(lane, load)

    def lend(self, lane: Lane, load: Load) -> None:
        """Take a slot and count the rate for a permit."""
        for each in (self.own,) if lane is self.own else (self.own, lane):
            each.slots += 1
            lane_throttle.begun(each, self._now)
            each.spend(self._pace, self._now, load)
        self.served(lane)

    def served(self, lane: Lane) -> None:
        """Let ``lane`` go behind the others: each time is a little later than the one before."""
        latest = max(self.own.served + _TICK, self._now - 1.0)
        self.own.served = lane.served = min(latest, self._now)


def release(tx: Transaction, lane: Lane) -> None:
    """Give back the slot that a delivery of ``lane`` occupied, or a loan."""
    own = tx.lanes.own(lane)
    own.slots = max(0, own.slots - 1)
    if lane is not own:
        lane.slots = max(0, lane.slots - 1)
