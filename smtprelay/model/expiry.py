"""
What ends on a day that is known: a secret, a certificate, a login. Pure.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

#: By name, when each ends, seconds since the epoch.
Expiries = Mapping[str, float]

#: The operator is told so many days ahead.
_DAYS_AHEAD: Final = 30


def expiry_words(end: float, now: float) -> str:
    """Return, for a sentence, when something ends or has ended; ``""`` if that is not soon."""
    day, today = (datetime.fromtimestamp(each, UTC).date() for each in (end, now))
    days = (day - today).days
    if days > _DAYS_AHEAD:
        return ""
    if end <= now:
        return f"expired on {day}"
    return f"expires on {day}, {('today', 'tomorrow')[days] if days < 2 else f'in {days} days'}"  # noqa: PLR2004
