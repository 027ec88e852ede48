"""
Every delay of the dispatch station, by the number of failures.

They are pure, with the chance passed in, so that a table can say what they give.
"""

from typing import Final

from smtprelay.model.route import Schedule

#: A provider's Retry-After is obeyed up to here: one wrong header must not stop a lane for days.
LONGEST_WAIT: Final = 3600.0

#: Seconds until a blocked lane is probed; the pause doubles, up to ``LAST_PROBE``.
FIRST_PROBE: Final = 30.0
LAST_PROBE: Final = 900.0

#: How soon to ask a provider for the first time what became of an attempt whose answer was lost.
FIRST_RESOLVE: Final = 5.0

#: How the spool is asked again after it failed.
SPOOL_AGAIN: Final = Schedule(first=1.0, max=60.0, jitter=0.2)

#: Beyond this the exponential is far above any maximum, and on its way to an OverflowError.
_STEEPEST: Final = 64


def delay(schedule: Schedule, tries: int, chance: float) -> float:
    """
    Return how many seconds to wait after ``tries`` earlier failures and the one that just happened.

    :param chance: from 0 to 1; 0.5 gives the schedule's own delay, the ends the whole jitter.
    """
    plain = min(schedule.max, schedule.first * schedule.factor ** min(tries, _STEEPEST))
    return plain * (1.0 + schedule.jitter * (2.0 * chance - 1.0))


def probe_delay(times: int) -> float:
    """Return after how many seconds to probe a lane that was found blocked for the ``times``-th time."""
    return min(LAST_PROBE, FIRST_PROBE * 2.0 ** min(times - 1, _STEEPEST))


def honoured(retry_after: float) -> float:
    """Return for how many seconds a provider's Retry-After is obeyed."""
    return min(max(retry_after, 0.0), LONGEST_WAIT)
