"""
The seams: what one station may ask of the next, and what it may rely on; those of the spool are in ``spool``.

zope.interface where Twisted or other people's code meets us, because ``twisted.cred`` adapts and checks it;
:class:`typing.Protocol` between our own stations, because mypy checks those without registration.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.mail.interfaces import IMessageDelivery

from smtprelay.interfaces.online import OnlineChecks, Senders
from smtprelay.mime.head import Head
from smtprelay.mime.worker import task
from smtprelay.model.message import Client, Delivery, Draft, Envelope, Planned, Reply, SessionLogin
from smtprelay.model.outcome import Outcome, Results
from smtprelay.model.queue import Edit
from smtprelay.model.queue_admin import Prepared
from smtprelay.model.refusal import RefusalFilter, RefusalRow
from smtprelay.model.route import Limits, NextHop, Window
from smtprelay.model.shape import Shape

T = TypeVar("T")


class Events(Protocol):
    """Where every station says what happened; the log and the metrics get it."""

    def __call__(self, event: str, /, **fields: object) -> None:
        """
        Say that ``event`` happened; it never raises and never blocks.

        Names and fields are those of :data:`smtprelay.telemetry.log.EVENTS`. No field carries a secret or
        the content of a message.
        """


class Incoming(Protocol):
    """
    The body of one message on its way in; from ``finish`` on the message is ours.

    The bytes are the message as it shall be stored: dots unstuffed, CRLF line ends, without the final
    ``CRLF.CRLF``. Exactly one of ``finish`` and ``abort`` is called, and nothing after it.
    """

    id: str

    def write(self, chunk: bytes) -> "Deferred[None] | None":
        """Take the next bytes; go on at once, or when the Deferred fires. It never raises."""

    async def finish(self) -> Reply:
        """
        Make the message safe and return the reply to the end of data; it never raises.

        ``250 2.0.0 Ok: queued as <id>``: it is committed and synced; a synchronous delivery says ``<id>
        delivered as <provider's id>`` instead. 4xx: it is not here, the client shall try again. 5xx: it is
        not here and never will be.
        """

    def abort(self) -> None:
        """Forget the message: the client went away or the body was refused."""


class IEnvelopeDelivery(IMessageDelivery):
    """
    Policy's avatar: one session's right to send, and the transaction it is in.

    Our server uses what is declared here, and Twisted's own server what it inherits; both begin the same
    transaction. Each method returns ``None`` (or a value), or a Deferred of it, or raises :class:`Refused`. A
    refused recipient is not in the envelope.
    """

    def mail(sender: str, parameters: Mapping[str, str]) -> None:  # noqa: N805
        """Begin a transaction; the one before it, if any, is forgotten."""

    def rcpt(recipient: str, parameters: Mapping[str, str]) -> None:  # noqa: N805
        """Add a recipient, perhaps with a source route (``@one:a@two``); the same again changes nothing."""

    def data() -> Incoming:
        """Close the envelope and return where its body goes. The transaction is over."""

    def client_is(client: Client) -> None:  # noqa: N805
        """Tell who speaks now: after EHLO or STARTTLS the name, the protocol or TLS changed."""


#: Decides, when header and shape are known, which deliveries a message becomes. The third argument is what
#: was measured so far: the exact size of the request, by the provider's name. May raise
#: :class:`Refused`, and :class:`Unmeasured`.
Planner = Callable[[Head, Shape, Mapping[str, int]], Sequence[Planned]]


#: :meth:`Provider.measure` of one.
Measure = Callable[[Envelope, "Body"], Coroutine[Any, Any, int]]


class Unmeasured(Exception):  # noqa: N818 -- a question, not an error
    """
    What a :data:`Planner` raises that must know how large the request of a provider becomes.

    :ivar measure: finds it out.
    """

    def __init__(self, provider: str, measure: Measure) -> None:
        super().__init__(f"how large the request of {provider} becomes is not known")
        self.provider = provider
        self.measure = measure


#: Makes the :class:`Incoming` for one message: the spool, or a synchronous delivery.
Receive = Callable[[Draft, Planner], Incoming]


class DeferToThread(Protocol):
    """Runs ``work`` on a thread; what it returns or raises comes by the Deferred."""

    def __call__(self, work: Callable[..., T], /, *arguments: Any) -> "Deferred[T]":
        """Run ``work`` with ``arguments``."""


class Body(Protocol):
    """A stored message, to be read once or several times, from its beginning each time."""

    size: int

    def chunks(self) -> AsyncIterator[bytes]:
        """Give the body in pieces of at most 256 KiB."""

    async def whole(self) -> bytes:
        """Give the whole body at once."""
        return b"".join([chunk async for chunk in self.chunks()])


@frozen
class Attempt:
    """
    What a provider is given to deliver once.

    :ivar release_slot: may be called once, when the provider has the body and only its result is outstanding.
    :ivar credential: the client's own login, for a provider that :attr:`Provider.uses_login`.
    """

    delivery: Delivery
    body: Body
    release_slot: Callable[[], None] = lambda: None
    credential: SessionLogin | None = field(default=None, repr=False)

    def results(self, outcome: Outcome) -> Results:
        """Return ``outcome`` for each recipient."""
        return dict.fromkeys(self.delivery.envelope.addresses, outcome)


MimeTask = task.MimeTask
MailTooCostly = task.MailTooCostly
MimeWorkerTimeout = task.MimeWorkerTimeout
MimeWorkerUnavailable = task.MimeWorkerUnavailable
MimeTaskError = task.MimeTaskError


class MimeWorker(Protocol):
    """Works on the content of mail: at once if that takes no time, else in a process with a deadline."""

    async def run(
        self, task: MimeTask, body: Body, parameters: Mapping[str, object]
    ) -> tuple[Mapping[str, Any], bytes]:
        """
        Return what ``task`` returns for the octets of ``body``, which are read when its turn has come.

        :raises MailTooCostly: as it would be each time: ``Failed`` with 5.6.0.
        :raises MimeWorkerTimeout: as an unexpected error: deferred, held after three.
        :raises MimeWorkerUnavailable: later; nothing was wrong with the mail.
        :raises MimeTaskError: an error in the task.
        :raises TooComplexError: of :mod:`smtprelay.mime.parse`, as the task raised it.
        """


class Provider(Protocol):
    """
    One way out: an HTTP API, another SMTP server, a folder.

    :ivar uses_login: it sends with the login of the client, without which it gets no mail.
    :ivar idempotent: a second request with the same :attr:`Delivery.operation_id` cannot deliver twice.
    :ivar next_hop: what it takes of a mail, if it sends MIME.
    """

    name: str
    idempotent: bool
    uses_login: bool
    limits: Limits
    next_hop: NextHop

    def lane(self, envelope: Envelope, author: str, login: str) -> str:
        """
        Return the key of the lane that a mail goes in; ``""`` is the provider's own.

        :param author: :attr:`Delivery.author`.
        :param login: :attr:`Delivery.lane_login`.
        """

    def encoded_size(self, shape: Shape) -> tuple[int, int]:
        """
        Return the least and the most octets that the request for a mail of this shape may have.

        Both grow with the mail; where the request is the mail itself they are the same.
        """

    async def measure(self, envelope: Envelope, body: Body) -> int:
        """
        Return the octets of the largest request that the mail becomes, without sending anything.

        :raises MimeWorkerUnavailable: it is not known now; ask again later. The same for
            :class:`MimeWorkerTimeout`.
        :raises MailTooCostly: it cannot be measured.
        """

    async def deliver(self, attempt: Attempt) -> Results:
        """
        Deliver once; return an outcome for each recipient of the delivery.

        It raises nothing that the provider or the network does to it: that is what the outcomes are for.
        """

    async def resolve(self, delivery: Delivery) -> Results | None:
        """Find out, sending nothing, what became of an attempt; ``None``: the provider cannot tell."""

    async def probe(self, lane: str) -> Outcome | None:
        """
        Try whether a blocked lane works again, without sending mail.

        ``Delivered``: it works. ``Blocked`` or ``Deferred``: it does not yet. ``None``: only a mail can tell.
        """

    async def rate(self) -> Sequence[Window] | None:
        """
        Return how much the account may be asked for now, if the provider tells that.

        Nothing: what the configuration says holds. ``None``: it is not known now.
        """

    def online_checks(self, senders: Senders) -> OnlineChecks:
        """Return what can be asked about the account and these senders, beside :meth:`probe`."""

    async def close(self) -> None:
        """
        Close the connections, those in use after their use; return when they are closed.

        A request that still comes is made all the same, on a connection of its own.
        """


class Prepare(Protocol):
    """Finds out what a change needs for one delivery and the spool cannot know."""

    async def __call__(self, delivery: Delivery, edit: Edit) -> Prepared:
        """Return it; ``delivery`` has the recipients that the change is about."""


class RefusedMail(Protocol):
    """What clients were refused, of all nodes; of too many the oldest are forgotten."""

    async def record(self, rows: Sequence[RefusalRow]) -> None:
        """Add up ``rows`` with what is there."""

    async def refused(self, wanted: RefusalFilter) -> Sequence[RefusalRow]:
        """Return the rows that are meant, the last first."""

    async def clear(self, wanted: RefusalFilter) -> int:
        """Forget the rows that are meant; return how many."""


class Operator(Prepare, Protocol):
    """
    What an operator may do beside changing the queue.

    Each of its methods raises ``LookupError`` for a provider or lane that is not there, and ``ValueError``
    with a sentence for people if it cannot be done.
    """

    def check(self, provider: str) -> None:
        """Raise if mail cannot be rerouted to ``provider``, whether or not there is mail to reroute."""

    async def probe(self, provider: str, lane: str, who: str, *, force: bool = False) -> None:
        """Try what is blocked or unreachable now; what asked us to wait only if it is forced."""

    async def suspend(self, provider: str, who: str, why: str, duration: float | None = None) -> None:
        """Send nothing to ``provider`` for ``duration`` seconds, or until it is resumed."""

    async def resume(self, provider: str, who: str) -> None:
        """Let a provider that was suspended run again."""

    def hold_rules_changed(self) -> None:
        """Have the rules that hold mail carried out, soon."""
