"""What a provider says of one recipient."""

from collections.abc import Mapping
from typing import Final

from attrs import frozen

#: RFC 3463: message too big for system. Another provider may take it.
TOO_LARGE: Final = "5.3.4"

#: Begins the key of a lane in which mail waits until an operator has set something up at the provider.
SETUP: Final = "setup:"

#: RFC 3463 §3.5: delivery time expired.
EXPIRED: Final = "4.4.7"


@frozen
class Delivered:
    """
    The provider's documented success answer; ``id`` is the provider's own, for tracing.

    :ivar reports: it took over the notifications that the sender asked for (RFC 3461 §5.2.1).
    :ivar by: the provider that took it, if that is another one than the delivery's: that of a sandbox.
    """

    id: str = ""
    why: str = ""
    reports: bool = False
    by: str = ""


@frozen
class Deferred:
    """
    A transient refusal.

    :ivar retry_after: seconds that the provider asked for, if it did.
    :ivar closed: the provider has ended this operation; the next attempt is a new one to it.
    :ivar again: the request was refused for other recipients, which are :class:`Failed`: this one goes
        again at once, as a new operation, and this attempt does not count.
    :ivar ours: the relay itself cannot send it until an operator mends that: it is no try, and while it
        lasts the mail does not expire.
    """

    why: str
    retry_after: float | None = None
    closed: bool = False
    again: bool = False
    ours: bool = False


@frozen
class Throttled:
    """
    We ask for too much: the lane slows down. It is no try of the mail, except for ``failover_after``.

    :ivar retry_after: that of :class:`Deferred`; the same for ``closed``.
    :ivar lane: the lane that slows down: the delivery's own, or ``""`` for the whole provider.
    """

    why: str
    retry_after: float | None = None
    lane: str = ""
    closed: bool = False


@frozen
class Failed:
    """
    This mail will never be taken.

    :ivar code: the enhanced status code for the bounce.
    :ivar whole: the whole request was refused for a recipient that the provider did not name: a delivery to
        several is halved, and each half goes again at once.
    """

    why: str
    code: str = "5.0.0"
    whole: bool = False


@frozen
class Blocked:
    """
    Credentials, permission, account or host: not the mail's fault.

    :ivar lane: the lane to stop: the delivery's own, or ``""`` for the whole provider; or one that begins
        with :data:`SETUP`, in which the mail waits from now on.
    :ivar closed: that of :class:`Deferred`.
    """

    why: str
    lane: str = ""
    closed: bool = False


@frozen
class Uncertain:
    """The answer was lost after the body was sent: it may or may not have been taken."""

    why: str


def stops_expiry(lane: str) -> bool:
    """
    Tell whether mail does not grow older while ``lane`` is blocked: an operator must mend that.

    In any other lane within a provider, such as a mailbox that is gone, mail expires.
    """
    return not lane or lane.startswith(SETUP)


def outcome_word(outcome: "Outcome") -> str:
    """Return what an outcome is called in the history, the log and the metrics: ``delivered``, …."""
    return type(outcome).__name__.lower()


Outcome = Delivered | Deferred | Throttled | Failed | Blocked | Uncertain


#: What became of each open recipient, by address.
Results = Mapping[str, Outcome]
