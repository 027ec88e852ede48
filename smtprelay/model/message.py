"""
The values that all stations of the relay share.

A mail is, on its way, an :class:`Envelope` from a :class:`Client`, then one or
several :class:`Delivery` in the spool, and at the end an outcome for each
recipient. All of them are frozen: a station hands on a new value, it never
changes one that another station may still hold.
"""

import uuid
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from smtprelay.model.shape import Shape

#: Namespace of the idempotency keys; part of the wire contract, never to be changed.
OPERATIONS: Final = uuid.UUID("6f1d0d9e-5a0b-5c39-9b6e-7a3f4f1f2c11")


@frozen(kw_only=True)
class Reply:
    r"""
    One SMTP reply (RFC 5321 §4.2) with its enhanced status code (RFC 3463).

    :ivar code: the three digits, 200 to 599.
    :ivar enhanced: ``"5.7.1"``, or ``""`` for the replies that carry none
        (banner, EHLO, 334, 354).
    :ivar text: what the person reads; one line for each ``"\n"``.
    :ivar rule: the name of the rule that refused, for the log and the page;
        never sent.
    """

    code: int
    enhanced: str
    text: str
    rule: str = ""


class SpoolUnavailable(Exception):  # noqa: N818 -- it says what the spool is
    """The spool cannot do what it was asked: nothing of it has happened."""


class Refused(Exception):  # noqa: N818 -- a refusal is an answer, not an error
    """What a station raises to answer a command with a 4xx or 5xx :class:`Reply`."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.code} {reply.enhanced} {reply.text}")
        self.reply = reply


@frozen(kw_only=True)
class Client:
    """
    Who speaks to a listener, as far as it is known at this moment of the session.

    :ivar address: the client's IP address as text, or ``"unix"``.
    :ivar helo: the name given in EHLO or HELO, ``""`` before it.
    :ivar tls: the TLS version (``"TLSv1.3"``), ``""`` in plain text.
    :ivar user: the name that logged in, ``""`` for none.
    :ivar protocol: the ``with`` keyword of RFC 3848: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA.
    """

    address: str
    listener: str = ""
    helo: str = ""
    tls: str = ""
    user: str = ""
    protocol: str = "SMTP"


@frozen(kw_only=True)
class Recipient:
    """
    One RCPT address with its DSN parameters (RFC 3461), as given.

    :ivar notify: the NOTIFY value in upper case (``"NEVER"``, ``"SUCCESS,FAILURE"``), or ``""``.
    :ivar orcpt: the ORCPT value in xtext, or ``""``.
    """

    address: str
    notify: str = ""
    orcpt: str = ""


@frozen(kw_only=True)
class Envelope:
    """
    Sender and recipients of one transaction: the only thing that decides who gets the mail.

    :ivar sender: the reverse-path without angle brackets; ``""`` is the null sender.
    :ivar parameters: the MAIL parameters that travel on, upper-case keys
        (``BODY``, ``SMTPUTF8``, ``RET``, ``ENVID``); a keyword without value maps to ``""``.
    """

    sender: str
    recipients: tuple[Recipient, ...] = ()
    parameters: Mapping[str, str] = field(factory=dict)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The recipients' addresses, in the order of their RCPT commands."""
        return tuple(recipient.address for recipient in self.recipients)

    def narrowed(self, recipients: tuple[Recipient, ...]) -> "Envelope":
        """Return this envelope with only ``recipients``: itself, if these are all."""
        if recipients == self.recipients:
            return self
        return Envelope(sender=self.sender, recipients=recipients, parameters=self.parameters)


@frozen(kw_only=True)
class Planned:
    """
    One delivery that a route asks for, before the spool has it.

    :ivar lane: the lane within ``provider``; ``""`` is the provider's own lane.
    """

    route: str
    provider: str
    lane: str
    recipients: tuple[Recipient, ...]

    def delivery(self, draft: "Draft", n: int, shape: Shape) -> "Delivery":
        """Return the delivery that this becomes, the ``n``-th one of ``draft``."""
        return Delivery(
            message=draft.id,
            n=n,
            generation=1,
            route=self.route,
            provider=self.provider,
            lane=self.lane,
            envelope=draft.envelope.narrowed(self.recipients),
            size=shape.size,
            received=draft.received,
            bounce_of=draft.bounce_of,
            shape=shape,
        )


@frozen(kw_only=True)
class Draft:
    """
    A message to be put into the spool, all but its body.

    :ivar id: the message's id, as in the 250 reply; see :func:`smtprelay.model.message_id.new_id`.
    :ivar received: when its transaction began, seconds since the epoch.
    :ivar bounce_of: the id of the message that this one reports on, or ``""``.
    """

    id: str
    envelope: Envelope
    client: Client
    received: float
    bounce_of: str = ""


@frozen(kw_only=True)
class Delivery:
    """
    One message on one route: what a provider is asked to deliver at one time.

    :ivar n: its number within the message, from 1; users see ``<message>.<n>``.
    :ivar generation: raised by an operator's retry after a terminal failure, and when the provider has
        ended the operation without taking the mail, so that it sees a new one.
    :ivar envelope: narrowed to the recipients that are still open.
    :ivar size: of the stored body, bytes.
    :ivar shape: what its octets are like; ``None`` if an earlier version stored it.
    """

    message: str
    n: int
    generation: int
    route: str
    provider: str
    lane: str
    envelope: Envelope
    size: int
    received: float
    bounce_of: str = ""
    shape: Shape | None = None

    @property
    def id(self) -> str:
        """``<message>.<n>``, as the CLI and the log show it."""
        return f"{self.message}.{self.n}"

    @property
    def operation_id(self) -> str:
        """The idempotency key: the same for every attempt of a generation, after a crash too."""
        return str(uuid.uuid5(OPERATIONS, f"{self.id}/{self.generation}"))


@frozen(kw_only=True)
class Claim:
    """
    The right, and the duty, to attempt one delivery once: its intent is already durable.

    :ivar attempt: unique within the delivery; with ``node`` it fences :meth:`Spool.settle`.
    :ivar tries: attempts that ended ``Deferred`` before this one, on this provider.
    :ivar deferrals: those that count against :attr:`Schedule.attempts`, on all providers together.
    :ivar age: seconds since the message was received, less the time its lane was blocked.
    :ivar uncertain: the attempt before this one has no outcome: resolve before sending.
    :ivar errors: attempts in a row that ended in an unexpected exception.
    :ivar edits: numbers of :attr:`attempt` that were none, but changes of an operator or the relay.
    :ivar body: the whole body if it fits one chunk and was at hand; else ``None``.
    """

    delivery: Delivery
    node: str
    attempt: int
    tries: int = 0
    deferrals: int = 0
    age: float = 0.0
    uncertain: bool = False
    errors: int = 0
    edits: int = 0
    body: bytes | None = field(default=None, repr=False)

    @property
    def times(self) -> int:
        """How many attempts there were, with this one."""
        return self.attempt - self.edits


@frozen
class Delivered:
    """
    The provider's documented success answer; ``id`` is the provider's own, for tracing.

    :ivar reports: it took over what the sender asked to be told (RFC 3461 §5.2.1): that is its duty now.
    """

    id: str = ""
    why: str = ""
    reports: bool = False


@frozen
class Deferred:
    """
    A transient refusal.

    :ivar retry_after: seconds that the provider asked for, if it did.
    :ivar closed: the provider has ended this operation; the next attempt is a new one to it.
    :ivar throttled: it says nothing of the mail, but that we ask for too much: the lane slows down.
    :ivar again: the request was refused for other recipients, which are :class:`Failed`: this one goes
        again at once, as a new operation, and this attempt does not count.
    """

    why: str
    retry_after: float | None = None
    closed: bool = False
    throttled: bool = False
    again: bool = False


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

    :ivar lane: the lane to stop: the delivery's own, or ``""`` for the whole provider.
    :ivar closed: as in :class:`Deferred`.
    """

    why: str
    lane: str = ""
    closed: bool = False


@frozen
class Uncertain:
    """The answer was lost after the body was sent: it may or may not have been taken."""

    why: str


Outcome = Delivered | Deferred | Failed | Blocked | Uncertain

#: What became of each open recipient, by address.
Results = Mapping[str, Outcome]


@frozen(kw_only=True)
class Limits:
    """
    What a provider takes in one message; ``None`` is no known limit.

    :ivar size: most bytes of the mail as the client sends it.
    :ivar request: most bytes of the request to the provider.
    :ivar recipients: most recipients of one request; mail to more becomes several deliveries.
    """

    size: int | None = None
    request: int | None = None
    recipients: int | None = None


@frozen(kw_only=True)
class Window:
    """At most ``count`` messages in any ``seconds``."""

    count: int
    seconds: float


@frozen(kw_only=True)
class RateLimit:
    """
    How fast a provider may be asked.

    :ivar concurrency: requests at once, over all its lanes.
    :ivar per_lane: requests at once in one lane, or ``None`` for no bound of its own.
    :ivar windows: all of them hold at once.
    """

    concurrency: int = 10
    per_lane: int | None = None
    windows: tuple[Window, ...] = ()


@frozen(kw_only=True)
class Schedule:
    """
    When a deferred delivery is tried again: after ``first * factor ** n`` seconds, at most ``max``.

    :ivar first: wait after the first refusal.
    :ivar factor: each wait is this many times the one before.
    :ivar max: longest wait.
    :ivar jitter: each wait is varied at random by up to this share of it.
    :ivar attempts: give up after this many refusals by all providers together. Default: no limit.
    """

    first: float = 30.0
    factor: float = 2.0
    max: float = 3600.0
    jitter: float = 0.2
    attempts: int | None = None


@frozen(kw_only=True)
class Route:
    """
    What happens to the deliveries of one route after they were accepted.

    :ivar via: provider names, in the order of failover; at least one.
    :ivar failover_after: deferred attempts at one provider before the next one is asked.
    :ivar expire: seconds after which a delivery that was deferred once more ends; ``None`` is never.
    :ivar on_failed: ``"bounce"``, ``"hold"``, ``"discard"`` or ``"webhook"``; so also ``on_expired``.
    :ivar on_uncertain: ``"resend"`` or ``"hold"``, where the provider cannot tell.
    """

    name: str
    via: tuple[str, ...]
    failover_after: int = 3
    retry: Schedule = field(factory=Schedule)
    expire: float | None = 2 * 86400.0
    on_failed: str = "bounce"
    on_expired: str = "bounce"
    on_uncertain: str = "resend"
