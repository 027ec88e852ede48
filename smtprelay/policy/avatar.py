"""
The avatar: one session's right to send, and the transaction it is in.

It keeps the state; what is refused, and why, is in :mod:`smtprelay.policy.admission`. A
recipient enters the envelope after the last rule has agreed and nowhere else,
so a refused one cannot be delivered to, whatever the client does next.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.mail.interfaces import IMessageSMTP
from zope.interface import implementer

from smtprelay.interfaces import IEnvelopeDelivery, Incoming, Receive
from smtprelay.interfaces.fit import DeadlinePlanner
from smtprelay.model.message import Client, Draft, Envelope, Recipient, Refused, Reply
from smtprelay.model.patterns import lowered
from smtprelay.policy import admission, stock_server
from smtprelay.policy.received_header import received
from smtprelay.policy.router import Router, no_route
from smtprelay.policy.sending_rate import SendingRate, SendingRates
from smtprelay.policy.settings import Identity, ListenerPolicy

#: The MAIL parameters that concern those who deliver; the others end with the session.
TRAVELLING: Final = frozenset({"BODY", "SMTPUTF8", "RET", "ENVID"})

#: Of a stock address what is no text becomes surrogates, which the rules refuse.
_TEXT: Final = ("utf-8", "surrogateescape")

_NO_MAIL: Final = Reply(code=503, enhanced="5.5.1", text="MAIL first", rule="sequence")
#: RFC 5321 §4.5.3.1.10: the client sends to the others in a transaction of their own.
_OTHER_ROUTE: Final = Reply(
    code=452, enhanced="4.5.3", text="This recipient needs a transaction of its own", rule="one-delivery"
)
_TOO_MANY: Final = Reply(
    code=452, enhanced="4.5.3", text="Too many recipients for one delivery", rule="one-delivery"
)
_NO_RECIPIENT: Final = Reply(code=554, enhanced="5.5.1", text="No valid recipients", rule="sequence")


@frozen(kw_only=True)
class SessionContext:
    """
    What all sessions of a listener share.

    :ivar receive: the spool's ``incoming``, or synchronous delivery.
    :ivar new_id: makes the id of a message.
    :ivar clock: seconds since the epoch, as the reactor's.
    :ivar rates: counts for the rates of the listener and of users.
    :ivar admits: why no message of a size in bytes can be accepted now; asked at MAIL and before the content.
    """

    listener: ListenerPolicy
    router: Router
    receive: Receive
    new_id: Callable[[], str]
    clock: IReactorTime
    rates: SendingRates
    admits: Callable[[int], Reply | None] = lambda _: None


@define(eq=False)
class ListenerRules:
    """
    The rules that each transaction of a listener begins with.

    :ivar context: replaced as a whole when the configuration changes; who is in a transaction ends it by
        the one before.
    """

    context: SessionContext


@define
class _MailTransaction:
    context: SessionContext
    sender: str
    size: int
    parameters: Mapping[str, str]
    recipients: dict[str, Recipient] = field(factory=dict)
    targets: tuple[str, ...] = ()


@implementer(IEnvelopeDelivery)
@define(eq=False)
class EnvelopeDelivery:
    """
    The avatar of ``identity``, which has no name without a login.

    Before :meth:`client_is` was called only an avatar with a login may send. Whether a client is admitted is
    judged at its first MAIL, and again by other rules.
    """

    _rules: ListenerRules
    _identity: Identity = field(factory=Identity)
    _client: Client = field(factory=lambda: Client(address=""))
    _judged_by: SessionContext | None = field(init=False, default=None)
    _refusal: Reply | None = field(init=False, default=None)
    _transaction: _MailTransaction | None = field(init=False, default=None)
    _messages: Iterator[IMessageSMTP] = field(init=False, factory=lambda: iter(()))

    def client_is(self, client: Client) -> None:
        """Take ``client`` from now on, without a transaction; its user is that of the login."""
        self._client = client
        self._judged_by = None
        self._transaction = None

    def mail(self, sender: str, parameters: Mapping[str, str]) -> None:
        """Begin a transaction for an admitted client and a sender that it may use."""
        self._transaction = None
        context = self._rules.context
        listener = context.listener
        if self._judged_by is not context:
            self._client = self._introduced(listener)
            self._refusal = admission.admission(listener, self._client)
            self._judged_by = context
        if self._refusal is not None:
            raise Refused(self._refusal)
        sender = admission.sender(listener, self._identity, sender)
        for rate in (listener.messages, self._identity.rights.rate):
            self._count(context, rate)
        size = admission.declared_size(listener, parameters["SIZE"]) if "SIZE" in parameters else 0
        no_room = context.admits(size)
        if no_room is not None:
            raise Refused(no_room)
        travelling = {name: value for name, value in parameters.items() if name in TRAVELLING}
        self._transaction = _MailTransaction(context, sender, size, travelling)

    def rcpt(self, recipient: str, parameters: Mapping[str, str]) -> None:
        """
        Add one recipient if every rule agrees and some route may lead there.

        Addresses that differ in the case of their domain are the same; the first one stays, with what
        was asked for it (RFC 3461): other wishes for it later are answered like any recipient, and forgotten.
        """
        transaction = self._transaction
        if transaction is None:
            raise Refused(_NO_MAIL)
        context = transaction.context
        accepted = admission.recipient(context.listener, self._identity, recipient, parameters)
        local, _, domain = accepted.address.rpartition("@")
        key = f"{local}@{lowered(domain)}"
        if key not in transaction.recipients:
            if context.listener.one_delivery:
                self._join(transaction, accepted.address)
            elif not context.router.reaches(self._client, transaction.sender, accepted.address):
                raise no_route(accepted.address)
            self._count(context, context.listener.recipients)
            transaction.recipients[key] = accepted

    # Any method of the interface may return a Deferred; its annotations cannot say so.
    def data(self) -> Incoming | Deferred[Incoming]:  # type: ignore[override]
        """Return where the body goes, our ``Received:`` header already in it."""
        incoming, ready = self._begin()
        return incoming if ready is None else ready.addCallback(lambda _: incoming)

    # Twisted's own server asks by the methods of IMessageDelivery.

    def validateFrom(self, helo: tuple[bytes | None, bytes], origin: Any) -> Any:
        """Do what :meth:`mail` does, without TLS, of which that server tells nothing."""
        name, address = ((part or b"").decode("ascii", "replace") for part in helo)
        self.client_is(Client(address=address, helo=name, protocol="ESMTP"))
        with stock_server.refusing("SMTPBadSender", origin):
            self.mail(bytes(origin).decode(*_TEXT), {})
        self._messages = stock_server.messages(self._begin)
        return origin

    def validateTo(self, user: Any) -> Callable[[], IMessageSMTP]:
        """Do what :meth:`rcpt` does."""
        with stock_server.refusing("SMTPBadRcpt", user):
            self.rcpt(bytes(user.dest).decode(*_TEXT), {})
        return partial(next, self._messages)

    def receivedHeader(self, helo: object, origin: object, recipients: object) -> bytes:  # noqa: ARG002
        """Return nothing: the header is written once, at the beginning of the message."""
        return b""

    def _begin(self) -> tuple[Incoming, Deferred[None] | None]:
        """Return where the body goes, and when more of it may be written."""
        transaction = self._transaction
        if transaction is None:
            raise Refused(_NO_MAIL)
        if not transaction.recipients:
            raise Refused(_NO_RECIPIENT)
        self._transaction = None
        context = transaction.context
        no_room = context.admits(transaction.size)
        if no_room is not None:
            raise Refused(no_room)
        envelope = Envelope(
            sender=transaction.sender,
            recipients=tuple(transaction.recipients.values()),
            parameters=transaction.parameters,
        )
        draft = Draft(
            id=context.new_id(),
            envelope=envelope,
            client=self._client,
            received=context.clock.seconds(),
            counts_content=context.listener.counts_content,
            keeps_subject=context.listener.keeps_subject,
            login=self._identity.login,
        )
        author = self._identity.rights.force_from
        plan = DeadlinePlanner(context.router.plan(self._client, envelope, author), context.clock)
        incoming = context.receive(draft, plan)
        return incoming, incoming.write(received(draft, context.listener.hostname))

    def forget(self) -> None:
        """Drop the transaction; the session is over."""
        self._transaction = None

    def _introduced(self, listener: ListenerPolicy) -> Client:
        """Return the client as the login names it; the rule of a user of the configuration is in that."""
        identity = self._identity
        client = evolve(self._client, user=identity.name, listener=listener.name)
        if identity.login is None:
            return client
        return evolve(client, sends_as=identity.rights.force_from, application=identity.login.application)

    def _count(self, context: SessionContext, rate: SendingRate | None) -> None:
        if rate is not None:
            context.rates.count(rate, self._client)

    def _join(self, transaction: _MailTransaction, address: str) -> None:
        """Let a recipient into a transaction that must be one delivery, whatever its content will be."""
        router = transaction.context.router
        targets = router.targets(self._client, transaction.sender, address)
        if not targets:
            raise no_route(address)
        most = router.most_recipients(targets)
        if transaction.recipients and targets != transaction.targets:
            raise Refused(_OTHER_ROUTE)
        if most is not None and len(transaction.recipients) >= most:
            raise Refused(_TOO_MANY)
        transaction.targets = targets
