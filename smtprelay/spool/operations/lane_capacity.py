"""
What may be sent now: blocks and throttling of lanes, free slots and rates, in one place.

A delivery that is under way occupies a slot of its lane and of its provider's own
lane until the provider has the body; each of the two also counts its rate.
"""

from typing import Final

from smtprelay.model.rate_limit import LEAST, Load
from smtprelay.model.route import RateLimit
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.operations import lane_throttle
from smtprelay.spool.tables.lane import Lane

#: A lane without a limit of its own has at most this many slots for each free one. So slow lanes leave slots
#: to the others.
_SHARE: Final = 4

#: Between the times at which two lanes were served, at least, seconds; many are within one transaction.
_TICK: Final = 1e-6


class LaneCapacity:
    """
    What one provider allows in this transaction.

    :ivar own: the provider's own lane.
    """

    def __init__(self, tx: Transaction, provider: str, rate_limit: RateLimit) -> None:
        self._now = tx.now
        self._rate_limit = rate_limit
        self.own = tx.lanes.get(provider, "")
        if self.own.resumes is not None and self.own.resumes <= tx.now:
            self.own.open(tx.now, trial=False)  # the time for which it was suspended is over
            tx.lanes.leave(provider)

    def room_in(self, lane: Lane, load: Load = LEAST) -> int:
        """Return how many requests of this load ``lane`` allows now; :attr:`own`: all lanes together."""
        room = self.own.room(self._rate_limit, self._now, load)
        if room < 1 or lane is self.own:
            return room
        if self._rate_limit.per_lane is None:
            room = min(room, -(-(_SHARE * self.own.free(self._rate_limit) - lane.slots) // (_SHARE + 1)))
        return max(0, min(room, lane.room(self._rate_limit, self._now, load)))

    def opens_in(self, lane: Lane, load: Load = LEAST) -> float:
        """Return when the rates and the throttling allow a request in ``lane``: now, or later."""
        return max(each.opens_at(self._rate_limit, self._now, load) for each in (self.own, lane))

    def wait_for(self, lane: Lane, load: Load) -> None:
        """Send nothing until the rates allow this load: otherwise smaller mail would always go first."""
        for each in (self.own, lane):
            each.opens = each.opens_at(self._rate_limit, self._now, load)

    def occupy(self, lane: Lane, load: Load) -> None:
        """Take a slot and count the rate for one delivery of ``lane``."""
        lane.active += 1
        self.take_slot(lane, load)

    def take_slot(self, lane: Lane, load: Load) -> None:
        """Take a slot and count the rate for a permit."""
        for each in (self.own,) if lane is self.own else (self.own, lane):
            each.slots += 1
            lane_throttle.begun(each, self._now)
            each.spend(self._rate_limit, self._now, load)
        self.served(lane)

    def served(self, lane: Lane) -> None:
        """Let ``lane`` go behind the others: each time is a little later than the one before."""
        latest = max(self.own.served + _TICK, self._now - 1.0)
        self.own.served = lane.served = min(latest, self._now)


def release(tx: Transaction, lane: Lane) -> None:
    """Release the slot of a delivery or a permit in ``lane``."""
    own = tx.lanes.own(lane)
    own.slots = max(0, own.slots - 1)
    if lane is not own:
        lane.slots = max(0, lane.slots - 1)
