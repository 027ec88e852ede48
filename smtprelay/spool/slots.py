"""
Who may go now: blocked lanes, free slots and the pace, in one place.

A delivery that is under way occupies a slot of its lane and of its provider's own
lane until the provider has the body; the provider's own lane also counts the pace.
"""

from smtprelay.message import Pace
from smtprelay.spool import pace as windows
from smtprelay.spool.connection import Transaction
from smtprelay.spool.lanes import Lane


class Gate:
    """
    What one provider allows in this transaction.

    :ivar room: how many more may go now, over all lanes; ``None`` is any number.
    :ivar when: when the pace allows more, if ``room`` is 0 because of it; else ``None``.
    """

    def __init__(self, tx: Transaction, provider: str, pace: Pace) -> None:
        self._now = tx.now
        self._pace = pace
        self.own = tx.lanes.get(provider, "")
        self._counts = self.own.counts(pace) if pace.windows else []
        allowed, when = windows.allowance(pace.windows, self._counts, tx.now)
        free = self.own.room(pace.concurrency)
        self.when = when if allowed == 0 else None
        self.room = 0 if free is None else free if allowed is None else min(free, allowed)
        if self.own.blocked_until is not None:
            self.room = 0

    def lets(self, lane: Lane) -> bool:
        """Tell whether one delivery of ``lane`` may go now."""
        if self.room < 1 or lane.blocked_until is not None:
            return False
        return lane.key == "" or lane.room(self._pace.per_lane) != 0

    def occupy(self, lane: Lane) -> None:
        """Take a slot, and a token of each window, for one delivery of ``lane``."""
        self.room -= 1
        self.own.slots += 1
        if lane is not self.own:
            lane.slots += 1
        lane.active += 1
        lane.served = self._now
        if self._pace.windows:
            self._counts = list(windows.spend(self._pace.windows, self._counts, self._now, 1))
            self.own.count(self._pace, self._counts)


def release(tx: Transaction, lane: Lane) -> None:
    """Give back the slot that a delivery of ``lane`` occupied."""
    own = tx.lanes.get(lane.provider, "")
    own.slots = max(0, own.slots - 1)
    if lane is not own:
        lane.slots = max(0, lane.slots - 1)
