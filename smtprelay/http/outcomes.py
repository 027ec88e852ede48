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
from typing import Any, Final

import orjson
from attrs import field, frozen

from smtprelay.model.outcome import Blocked, Deferred, Failed, Outcome, Throttled, Uncertain

_TOO_LARGE: Final = 413
#: Characters of a text in an answer that are read, and of one that is repeated in a reason.
_READ: Final = 16 * 1024
_REPEATED: Final = 2000


class Classification(Enum):
    """What an answer says of the mail; each names one class of outcome."""

    DEFERRED = "deferred"
    THROTTLED = "throttled"
    FAILED = "failed"
    BLOCKED = "blocked"
    UNCERTAIN = "uncertain"


Meanings = Mapping[int | str, Classification]

#: What HTTP itself says (RFC 9110 §15, RFC 6585 §4), the same for all providers.
#: A gateway that gave up (502, 504) may have passed the request on before. 503 is an overload or a
#: pause, so that asking less is right in both cases.
HTTP: Final[Meanings] = {
    401: Classification.BLOCKED,
    403: Classification.BLOCKED,
    413: Classification.FAILED,
    429: Classification.THROTTLED,
    502: Classification.UNCERTAIN,
    503: Classification.THROTTLED,
    504: Classification.UNCERTAIN,
}


@frozen(kw_only=True)
class ErrorTable:
    """
    What the refusals of one API mean, by error code, which says more, or by HTTP status.

    :ivar meanings: what is not in it is ``DEFERRED``.
    :ivar enhanced: status codes (RFC 3463) for the bounce; else ``5.0.0``.
    :ivar advice: what an operator can do about what is blocked; added to the provider's words.
    :ivar of_sender: what is blocked is the mail of a sender, and no other: see
        :func:`smtprelay.providers.outcomes.sender_lane`.
    """

    meanings: Meanings
    enhanced: Mapping[int | str, str] = field(factory=dict)
    advice: Mapping[int | str, str] = field(factory=dict)
    of_sender: bool = False

    def outcome(
        self,
        status: int | str,
        code: str,
        message: str,
        *,
        retry_after: float | None = None,
        lane: str = "",
    ) -> Outcome:
        """
        Return what a refusal means for the mail.

        :param lane: which one it stops, or slows down: the delivery's own, or ``""`` for the whole provider.
        """
        why = words(status, code, message)
        match self.meanings.get(code) or self.meanings.get(status, Classification.DEFERRED):
            case Classification.FAILED:
                return Failed(why, self.enhanced.get(code) or self.enhanced.get(status, "5.0.0"))
            case Classification.BLOCKED:
                advice = self.advice.get(code) or self.advice.get(status)
                return Blocked(f"{why} ({advice})" if advice else why, lane)
            case Classification.UNCERTAIN:
                return Uncertain(why)
            case Classification.THROTTLED:
                return Throttled(why, retry_after, lane)
            case Classification.DEFERRED:
                return Deferred(why, retry_after)


def blocked_table(advice: str, *statuses: int, of_sender: bool = False) -> ErrorTable:
    """Return the table of a refusal that is blocked whatever its code, with one advice."""
    meanings: Meanings = dict.fromkeys(statuses, Classification.BLOCKED)
    return ErrorTable(meanings=meanings, advice=dict.fromkeys(statuses, advice), of_sender=of_sender)


@frozen
class ServiceError:
    """
    What a refusal says of itself.

    :ivar code: the service's name for it, ``""`` if it has none.
    :ivar message: in the service's words.
    """

    status: int
    code: str
    message: str


#: More is no time, seconds; what is honoured of it is less.
_LONGEST_WAIT: Final = 1e9


def retry_after(value: str, now: float) -> float | None:
    """
    Return the seconds that a ``Retry-After`` header asks to wait (RFC 9110 §10.2.3).

    :param value: seconds or an HTTP-date; anything else, ``""`` too, is ``None``.
    :param now: seconds since the epoch.
    """
    if not value:
        return None
    if value.strip().isdecimal():
        return min(float(value), _LONGEST_WAIT)
    try:
        date = parsedate_to_datetime(value)
        # One of the three formats names no zone; it is always UTC.
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def words(status: int | str, code: str, message: str) -> str:
    """
    Return a provider's answer in one line: ``400 InvalidEmailAddress: Invalid format …``.

    Characters that cannot be seen are left out, and what is very long is cut.
    """
    text = ": ".join(filter(None, (in_print(each[:_REPEATED]) for each in (code, message))))
    return f"{status} {text}".rstrip()


def in_print(text: str) -> str:
    """Return what others say in one line, without characters that cannot be seen."""
    return "".join(filter(str.isprintable, " ".join(text.split())))


def json_object(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object in an answer; empty if there is none."""
    try:
        value = orjson.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def unless_of_others(outcome: Outcome, status: int) -> Outcome:
    """
    Return the outcome of a refusal without a word of the API.

    A proxy, or whatever answers at a wrong address, fails no mail, unless that is too large for it.
    """
    if isinstance(outcome, Failed) and status != _TOO_LARGE:
        return Deferred(f"{outcome.why} (is that the API? check the endpoint)")
    return outcome


def text_in(fields: Mapping[str, Any], name: str) -> str:
    """
    Return the beginning of a text or number among the fields of an answer, ``""`` if it is something else.

    Lists within lists are not spelled: Python raises ``RecursionError`` for as many as JSON may have.
    """
    value = fields.get(name)
    return str(value)[:_READ] if isinstance(value, str | int | float) else ""
