"""
The values that all stations of the relay share.

A mail is, on its way, an :class:`Envelope` from a :class:`Client`, then one or
several :class:`Delivery` in the spool, and at the end an outcome for each
recipient. All of them are frozen: a station hands on a new value, it never
changes one that another station may still hold.
"""

import uuid
from collections.abc import Mapping
from hashlib import blake2b
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


#: RFC 3463: X.3.0 other or undefined mail system status.
NOT_STORED: Final = Reply(
    code=451, enhanced="4.3.0", text="The message could not be stored, try again later", rule="spool"
)


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
    :ivar sends_as: whom From must name because this login sends as it, whatever the mail says; else ``""``.
    :ivar application: :attr:`SessionLogin.application` of its login; else ``""``.
    """

    address: str
    listener: str = ""
    helo: str = ""
    tls: str = ""
    user: str = ""
    protocol: str = "SMTP"
    sends_as: str = ""
    application: str = ""

    @property
    def lane_login(self) -> str:
        """Whose lane its mail has: two names of one application have the same."""
        return self.application or self.user


@frozen(kw_only=True)
class SessionLogin:
    """
    An application of Microsoft Entra that a client logged in as.

    :ivar tenant: UUID, in lower case; the same for ``client_id``.
    """

    tenant: str
    client_id: str
    secret: str = field(repr=False)

    @property
    def application(self) -> str:
        """
        What it is called in lanes: ``TENANT/CLIENT/DIGEST``.

        The digest is 32 bits of the secret, which tell it from another one: mail with a secret that was
        revoked holds up none with its successor.
        """
        digest = blake2b(self.secret.encode(), digest_size=4, person=b"smtprelay").hexdigest()
        return f"{self.tenant}/{self.client_id}/{digest}"


@frozen(kw_only=True)
class Recipient:
    """
    One RCPT address with its DSN parameters (RFC 3461), as given.

    :ivar notify: the NOTIFY value in upper case (``"NEVER"``, ``"SUCCESS,FAILURE"``), or ``""``.
    :ivar orcpt: the ORCPT value in xtext, or ``""``.
    :ivar named: the address that the client named, where a rule of the route has replaced it; else ``""``.
    """

    address: str
    notify: str = ""
    orcpt: str = ""
    named: str = ""


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
    :ivar author: see :attr:`Delivery.author`; ``""`` is the envelope's sender.
    :ivar needs_login: a provider of its route sends with the client's own login.
    """

    route: str
    provider: str
    lane: str
    recipients: tuple[Recipient, ...]
    author: str = ""
    needs_login: bool = False

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
            author=self.author or draft.envelope.sender,
            login=draft.client.user,
            sends_as=draft.client.sends_as,
            application=draft.client.application,
            credential=draft.login if self.needs_login else None,
            bounce_of=draft.bounce_of,
            shape=shape,
        )


@frozen(kw_only=True)
class Draft:
    """
    A message to be put into the spool, all but its body.

    :ivar id: the message's id, which the 250 reply names; made by :func:`smtprelay.model.message_id.new_id`.
    :ivar received: when its transaction began, seconds since the epoch.
    :ivar bounce_of: the id of the message that this one reports on, or ``""``.
    :ivar counts_content: some provider wants to know :attr:`.Shape.in_json`.
    :ivar keeps_subject: the queue and the history show the subject.
    :ivar login: the client's own, for a provider that sends with it.
    """

    id: str
    envelope: Envelope
    client: Client
    received: float
    bounce_of: str = ""
    counts_content: bool = True
    keeps_subject: bool = True
    login: SessionLogin | None = field(default=None, repr=False)


@frozen(kw_only=True)
class Delivery:
    """
    One message on one route: what a provider is asked to deliver at one time.

    :ivar n: its number within the message, from 1; users see ``<message>.<n>``.
    :ivar generation: raised by an operator's retry after a terminal failure, and when the provider has
        ended the operation without taking the mail, so that it sees a new one.
    :ivar envelope: narrowed to the recipients that are still open.
    :ivar size: of the stored body, bytes.
    :ivar author: the address that From names, else the envelope's sender.
    :ivar login: who logged in, or ``""``.
    :ivar shape: what its octets are like; ``None`` if an earlier version stored it.
    :ivar sends_as: whom From names because a rule says so, whatever the envelope says; else ``""``.
    :ivar application: :attr:`Client.application`.
    :ivar credential: the client's own login while it is at hand; of mail that has waited the spool has it.
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
    author: str = ""
    login: str = ""
    bounce_of: str = ""
    shape: Shape | None = None
    sends_as: str = ""
    application: str = ""
    credential: SessionLogin | None = field(default=None, repr=False, eq=False)

    @property
    def lane_login(self) -> str:
        """:attr:`Client.lane_login`."""
        return self.application or self.login

    @property
    def id(self) -> str:
        """``<message>.<n>``, as the CLI and the log show it."""
        return f"{self.message}.{self.n}"

    @property
    def operation_id(self) -> str:
        """The idempotency key: the same for every attempt of a generation, after a crash too."""
        return str(uuid.uuid5(OPERATIONS, f"{self.id}/{self.generation}"))
