"""
One lane: a provider, or a mailbox or login within it, with what it counts and what holds it up.
"""

from collections.abc import Sequence
from typing import Final

import orjson
from attrs import define, field

from smtprelay.model.queue import ASKED_TO_WAIT
from smtprelay.model.rate_limit import LEAST, Load, Spent, allowance, spend
from smtprelay.model.route import RateLimit, Window

#: No bound.
ANY_NUMBER: Final = 2**31 - 1

#: A ceiling below one means one request in this many seconds, divided by it.
_INTERVAL: Final = 0.02


def blocked_time(total: float, since: float | None, now: float) -> float:
    """Return for how long a lane has been blocked: ``total`` seconds, and all that is ``since``."""
    return total + (0.0 if since is None else max(0.0, now - since))


@define
class Lane:
    """One row of the table ``lane``; :class:`~smtprelay.spool.tables.lanes.LaneTable` writes it back."""

    id: int
    provider: str
    key: str
    queued: int
    deferred: int
    active: int
    held: int
    finished: int
    slots: int
    served: float
    spent: str
    opens: float
    #: From here on what nearly all mail leaves as it is.
    due: float | None
    turn: float | None
    blocked_until: float | None
    blocked_reason: str
    blocked_since: float | None
    blocked_total: float
    trial: int
    ceiling: float | None
    cut: float
    pause: float
    resumes: float | None
    _counts: dict[tuple[str, float], Spent] | None = field(default=None, init=False, eq=False)

    @property
    def place(self) -> tuple[str, str]:
        """The provider, and the key of the lane within it."""
        return self.provider, self.key

    def wait(self, state: str, due: float, count: int = 1) -> None:
        """Note that ``count`` deliveries begin to wait in ``state``, the first of them until ``due``."""
        setattr(self, state, getattr(self, state) + count)
        self.due_at(due)

    def due_at(self, due: float) -> None:
        """Note that something is due then."""
        self.due = due if self.due is None else min(due, self.due)
        if self._is_left():
            self.turn = due if self.turn is None else min(due, self.turn)

    def _is_left(self) -> bool:
        """Tell whether what waits here may go elsewhere: not while the provider only asked us to wait."""
        blocked = self.blocked_until is not None and self.key != ""
        return blocked and not self.blocked_reason.startswith(ASKED_TO_WAIT)

    def blocked_time(self, now: float) -> float:
        """Return for how long this lane has been blocked since it exists, in seconds."""
        return blocked_time(self.blocked_total, self.blocked_since, now)

    def block(self, until: float, reason: str, now: float) -> None:
        """Stop the lane. A lane that is blocked already keeps its beginning."""
        self.blocked_until, self.blocked_reason, self.resumes = until, reason, None
        if self.blocked_since is None:
            self.blocked_since = now
        self.leave()

    def leave(self) -> None:
        """Check again what is due here: it may go to another provider, unless it only waits for a while."""
        if self.blocked_until is not None:
            self.turn = self.due if self._is_left() else None

    def open(self, now: float, *, trial: bool) -> None:
        """Let the lane run again."""
        self.blocked_total = self.blocked_time(now)
        self.blocked_until, self.blocked_since, self.blocked_reason, self.resumes = None, None, "", None
        self.trial = int(trial)

    def free(self, rate_limit: RateLimit) -> int:
        """Return how many slots are free under its bound and its ceiling; one at most while on trial."""
        bound = rate_limit.concurrency if self.key == "" else rate_limit.per_lane or ANY_NUMBER
        if self.ceiling is not None:
            bound = min(bound, max(1, int(self.ceiling)))
        return max(0, (1 if self.trial else bound) - self.slots)

    def room(self, rate_limit: RateLimit, now: float, load: Load = LEAST) -> int:
        """Return how many requests of this load may begin now."""
        if self.blocked_until is not None or self.opens > now:
            return 0
        allowed, _ = allowance(*self._counted(rate_limit), now, load)
        return self.free(rate_limit) if allowed is None else min(allowed, self.free(rate_limit))

    def opens_at(self, rate_limit: RateLimit, now: float, load: Load = LEAST) -> float:
        """Return when its rate, and what its provider bears, allow such a request: now, or later."""
        return max(self.opens, allowance(*self._counted(rate_limit), now, load)[1])

    def recheck(self, now: float) -> None:
        """Do not wait for a rate any more: it is another one, or the mail that had no room in it is gone."""
        self.opens = min(self.opens, now + max(self.pause, self.interval))

    @property
    def interval(self) -> float:
        """Return the seconds between two requests under a ceiling below one; else none are needed."""
        return _INTERVAL / self.ceiling if self.ceiling is not None and self.ceiling < 1 else 0.0

    def spend(self, rate_limit: RateLimit, now: float, load: Load) -> None:
        """Count a request that begins now."""
        windows, before = self._counted(rate_limit)
        if windows:
            counts = spend(windows, before, now, load)
            # By unit and length, so that a rate that changes does not forget what went.
            self._counts = {
                (each.unit, each.seconds): some for each, some in zip(windows, counts, strict=True)
            }
            counted = [[*window, some] for window, some in self._counts.items()]
            self.spent = orjson.dumps(counted, option=orjson.OPT_NON_STR_KEYS).decode()

    def _counted(self, rate_limit: RateLimit) -> tuple[Sequence[Window], Sequence[Spent]]:
        """Return the windows of its rate, and what was counted in each."""
        windows = rate_limit.lane_windows if self.key else rate_limit.windows
        if self._counts is None:
            self._counts = {}
            for unit, seconds, counts in orjson.loads(self.spent or "[]"):
                # Earlier versions counted messages alone, and wrote how many were allowed.
                counted = unit if isinstance(unit, str) else "messages"
                self._counts[counted, seconds] = {int(part): count for part, count in counts.items()}
        return windows, [self._counts.get((each.unit, each.seconds), {}) for each in windows]
