"""
Dates as header fields have them. Pure.
"""

from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache


def date(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as RFC 5322 §3.3 writes it, in UTC."""
    return _date(int(seconds))


@lru_cache(maxsize=16)  # many messages arrive in the same second
def _date(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))
