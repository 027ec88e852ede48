"""
From a provider's answer to an outcome, by tables.

What an answer means decides whether a person's mail waits, bounces or stops a whole lane, so it is written
down as data that can be read and tested without a network. An operator's mistake must never become a bounce:
what a table does not know is deferred.
"""

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final

from smtprelay.model.outcome import Blocked, Deferred, Failed, Outcome, Uncertain


class Classification(Enum):
    """What an answer says of the mail; each names one class of outcome."""

    DEFERRED = "deferred"
    THROTTLED = "throttled"
    FAILED = "failed"
    BLOCKED = "blocked"
    UNCERTAIN = "uncertain"


Statuses = Mapping[int, Classification]

#: What HTTP itself says (RFC 9110 §15, RFC 6585 §4), the same for all providers.
#: A gateway that gave up (502, 504) may have passed the request on before. 503 is an overload or a
#: pause, so that asking less is right in both cases.
HTTP: Final[Statuses] = {
    401: Classification.BLOCKED,
    403: Classification.BLOCKED,
    413: Classification.FAILED,
    429: Classification.THROTTLED,
    502: Classification.UNCERTAIN,
    503: Classification.THROTTLED,
    504: Classification.UNCERTAIN,
}

#: A webhook. What its owner must mend stops it and keeps the events; it knows a repetition by its id, so
#: that a lost answer is none to worry about. Redirects are not followed.
WEBHOOK: Final[Statuses] = {
    **HTTP,
    **dict.fromkeys(
        (300, 301, 302, 303, 307, 308, 401, 402, 403, 404, 405, 407, 410), Classification.BLOCKED
    ),
    **dict.fromkeys((400, 406, 411, 413, 415, 422), Classification.FAILED),
    502: Classification.DEFERRED,
    504: Classification.DEFERRED,
}

#: ``POST /emails:send`` of Azure Communication Services.
ACS_SEND: Final[Statuses] = {
    **HTTP,
    400: Classification.FAILED,
    404: Classification.BLOCKED,
    422: Classification.FAILED,
}

#: Error codes that say more than their status does. Whose fault an unknown sender is
#: depends on who chose it; see :func:`acs_refusal`.
ACS_CODES: Final[Mapping[str, Classification]] = {
    "DomainNotLinked": Classification.BLOCKED,
    "EmailServiceNotLinked": Classification.BLOCKED,
    "TooManyRequests": Classification.THROTTLED,
}

#: Codes that refuse the sender's address.
ACS_SENDER_CODES: Final = frozenset({"InvalidSenderUserName", "InvalidSender"})

#: Enhanced status codes (RFC 3463) for the bounce, by error code or HTTP status.
ACS_ENHANCED: Final[Mapping[str | int, str]] = {
    "EmailDroppedAllRecipientsSuppressed": "5.7.1",
    "InvalidEmailAddress": "5.1.3",
    "InvalidSender": "5.1.8",
    "InvalidSenderUserName": "5.1.8",
    "TooManyRecipients": "5.5.3",
    400: "5.6.0",
    413: "5.3.4",
    422: "5.6.0",
}

#: What an operator can do, by status; added to the provider's words.
_ADVICE: Final[Mapping[int, str]] = {
    401: "check the access key and this machine's clock",
    403: "check the permissions and the linked domains of the resource",
    404: "check the endpoint: this resource or its domain does not exist",
}


def outcome(
    verdict: Classification, why: str, *, code: str = "5.0.0", retry_after: float | None = None
) -> Outcome:
    """Return the outcome that ``verdict`` names."""
    match verdict:
        case Classification.FAILED:
            return Failed(why, code)
        case Classification.BLOCKED:
            return Blocked(why)
        case Classification.UNCERTAIN:
            return Uncertain(why)
        case Classification.DEFERRED | Classification.THROTTLED:
            return Deferred(why, retry_after, throttled=verdict is Classification.THROTTLED)


def by_status(statuses: Statuses, status: int) -> Classification:
    """Return what ``statuses`` says of ``status``; ``DEFERRED`` for what it does not know."""
    return statuses.get(status, Classification.DEFERRED)


def retry_after(value: str, now: float) -> float | None:
    """
    Return the seconds that a ``Retry-After`` header asks to wait (RFC 9110 §10.2.3).

    :param value: seconds or an HTTP-date; anything else, ``""`` too, is ``None``.
    :param now: seconds since the epoch.
    """
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
        # One of the three formats names no zone; it is always UTC.
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def acs_refusal(
    status: int, code: str, message: str, *, wait: float | None = None, own_sender: bool = True
) -> Outcome:
    """
    Return what a refusal of ``emails:send`` means for the mail.

    :param code: ``error.code``, or ``x-ms-error-code``; ``""`` if there is none.
    :param message: ``error.message``, as it came.
    :param wait: seconds of ``Retry-After``, for what is deferred.
    :param own_sender: the refused sender is the configured default. Then all mail
        stops until the operator mends it; else only the mail that named it fails.
    """
    if code in ACS_SENDER_CODES:
        verdict = Classification.BLOCKED if own_sender else Classification.FAILED
    else:
        verdict = ACS_CODES.get(code) or by_status(ACS_SEND, status)
    why = words(status, code, message)
    if verdict is Classification.BLOCKED and status in _ADVICE:
        why = f"{why} ({_ADVICE[status]})"
    enhanced = ACS_ENHANCED.get(code) or ACS_ENHANCED.get(status, "5.0.0")
    return outcome(verdict, why, code=enhanced, retry_after=wait)


def acs_failed(code: str, message: str) -> Outcome:
    """Return what an operation that ended ``Failed`` means for the mail."""
    why = words("operation failed:", code, message)
    return outcome(ACS_CODES.get(code, Classification.FAILED), why, code=ACS_ENHANCED.get(code, "5.0.0"))


def words(status: int | str, code: str, message: str) -> str:
    """Return a provider's answer in one line: ``400 InvalidEmailAddress: Invalid format …``."""
    said = ": ".join(" ".join(part.split()) for part in (code, message) if part.strip())
    return f"{status} {said}".rstrip()
