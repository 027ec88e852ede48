"""
The seams: what one station may ask of the next, and what it may rely on.

zope.interface where Twisted or other people's code meets us, because that is
what ``twisted.cred`` adapts and checks; :class:`typing.Protocol` between our
own stations, because mypy checks those without anybody registering anything.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from zope.interface import Interface

from smtprelay.mime.head import Head
from smtprelay.mime.worker import errors, task
from smtprelay.model.attempt import Block, Claim, ClaimBatch, NewMessage, Settlement
from smtprelay.model.export_import import Archive
from smtprelay.model.maintenance import Maintenance
from smtprelay.model.message import Client, Delivery, Draft, Envelope, Planned, Reply
from smtprelay.model.outcome import Outcome, Results
from smtprelay.model.permit import Permits
from smtprelay.model.queue import Node, OverduePage, QueueStats
from smtprelay.model.queue_admin import Queue
from smtprelay.model.route import Limits
from smtprelay.model.shape import Shape


class Events(Protocol):
    """
    Where every station says what happened; the log and the metrics hear it.

    Call it with one of the names of :data:`smtprelay.telemetry.log.EVENTS` and the fields
    that it declares there: ``events("message.queued", message=..., listener=...)``. It
    never raises and never blocks. Fields carry no secret and no message content.
    """

    def __call__(self, event: str, /, **fields: object) -> None:
        """Say that ``event`` happened."""


class Incoming(Protocol):
    """
    The body of one message on its way in; from ``finish`` on the message is ours.

    The bytes are the message as it shall be stored: dots unstuffed, CRLF line ends, without the final
    ``CRLF.CRLF``. Exactly one of ``finish`` and ``abort`` is called, and nothing after it.
    """

    id: str

    def write(self, chunk: bytes) -> "Deferred[None] | None":
        """
        Take the next bytes.

        Returns ``None`` to go on at once, or a Deferred that fires when the caller may write again. It never
        raises: what went wrong is told by ``finish``.
        """

    async def finish(self) -> Reply:
        """
        Make the message safe and return the reply to the end of data.

        ``250 2.0.0 Ok: queued as <id>``: it is committed and synced; a synchronous delivery says ``<id>
        delivered as <provider's id>`` instead. 4xx: it is not here, the client shall try again. 5xx: it is
        not here and never will be. It returns a reply in each of these cases and does not raise.
        """

    def abort(self) -> None:
        """Forget the message: the client went away or the body was refused."""


class IEnvelopeDelivery(Interface):
    """
    Policy's avatar: one session's right to send, and the transaction it is in.

    An avatar provides it beside :class:`twisted.mail.smtp.IMessageDelivery`, which it extends in spirit; it
    is apart because importing ``twisted.mail.smtp`` installs the reactor. Each method returns ``None`` (or a
    value), or a Deferred of it, or raises :class:`Refused`. A refused recipient is not in the envelope.
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
Plan = Callable[[Head, Shape, Mapping[str, int]], Sequence[Planned]]


class Unmeasured(Exception):  # noqa: N818 -- a question, not an error
    """
    What a :data:`Plan` raises that must know how large the request of a provider becomes.

    :ivar measure: :meth:`Provider.measure` of it.
    """

    def __init__(self, provider: str, measure: "Callable[[Envelope, Body], Awaitable[int]]") -> None:
        super().__init__(f"how large the request of {provider} becomes is not known")
        self.provider = provider
        self.measure = measure


#: Makes the :class:`Incoming` for one message: the spool, or a synchronous delivery.
Receive = Callable[[Draft, Plan], Incoming]


class Body(Protocol):
    """A stored message, to be read once or several times, from its beginning each time."""

    size: int

    def chunks(self) -> AsyncIterator[bytes]:
        """Give the body in pieces of at most 256 KiB."""

    async def whole(self) -> bytes:
        """Give the whole body at once."""
        return b"".join([chunk async for chunk in self.chunks()])


class StoredMessage(Body, Protocol):
    """The body of a message that lies in the spool; ``message`` is its id."""

    message: str


class Spool(Queue, Permits, Protocol):
    """
    Where accepted mail is safe, and the only place where its state lives.

    What an operator asks of it is said in :class:`smtprelay.model.queue_admin.Queue`.

    Every coroutine returns after its change is committed and synced; several changes share one commit. Two
    commits carry a message through: accept-or-claim and settle.

    :ivar transfer: how messages leave it and come in from another one.
    :ivar upkeep: what keeps it sound and small.
    """

    transfer: Archive
    upkeep: Maintenance

    def incoming(self, draft: Draft, plan: Plan, ended: Settlement | None = None) -> Incoming:
        """
        Return where the body of ``draft`` goes; its ``finish`` accepts the message.

        :param ended: how an attempt ended that was made already, outside of the spool, of the one
            delivery that is planned: it is recorded in the same transaction.
        """

    async def accept(self, draft: Draft, body: bytes, planned: Sequence[Planned]) -> None:
        """Take a whole message of our own making (a bounce, a test mail)."""

    def listen(self, take: Callable[[Sequence[Claim]], None] | None) -> None:
        """
        Have ``take`` called, on the reactor, after each accept; ``None``: nobody listens any more.

        It gets the claims that the accept took in its own transaction; none if
        the message is queued, which is then a reason to ask :meth:`claim`.
        Until somebody listens, and after ``None``, nothing is claimed at accept.
        """

    async def claim(self, limit: int = 50) -> ClaimBatch:
        """
        Take what may go now: one delivery from each ready lane in turn.

        The intent of each attempt is durable when this returns. A lane is ready
        when something in it is due, it is not blocked, it has a free slot, and its
        provider has a free slot and a token for the pace.
        """

    async def release_slot(self, claim: Claim) -> None:
        """Release the send slot of ``claim``: the provider has the body, the outcome comes later."""

    async def renew(self, claims: Sequence[Claim]) -> None:
        """Keep the leases of ``claims`` from running out."""

    async def settle(self, claim: Claim, settlement: Settlement) -> bool:
        """
        Record what became of an attempt, once.

        ``False`` if the claim is not ours any more (the lease ran out, an operator
        deleted the message): nothing was changed.
        """

    def body(self, delivery: Delivery) -> Body:
        """Return the stored body of a delivery. Reading it raises ``LookupError`` if it is gone."""

    async def recover(self) -> int:
        """
        Put back what this node held when it died; return how many deliveries.

        Each of them becomes ``queued`` and ``uncertain``, and due at once. It may be why the node died: it
        goes after the rest, when nothing else of its node is under way. At the second death in a row while
        it was alone it is held.
        """

    async def release(self) -> int:
        """
        Put back what this node holds, for it stops: nobody has to wait until it is recovered or reclaimed.

        Each delivery becomes ``queued`` and ``uncertain``, and due at once; return how many.
        """

    async def reclaim(self) -> int:
        """
        Put back what other nodes held when they died or froze; return how many deliveries.

        Their leases have run out. Each delivery becomes what :meth:`recover` makes of it.
        """

    async def block(self, block: Block) -> None:
        """Stop a lane until ``block.until``, or, with ``reason`` empty, open it again."""

    async def overdue(self, before: float, mark: tuple[str, int] = ("", 0), limit: int = 200) -> OverduePage:
        """
        Return a page of what is alive and was received until ``before``: the oldest after ``mark``.

        Left out is of what :meth:`notify` has told, what has no sender, and what is a report itself. The cost
        does not grow with the queue.
        """

    async def notify(self, delivery: Delivery, notice: NewMessage) -> bool:
        """
        Accept ``notice``, the only one of its kind for ``delivery``.

        ``False``, and nothing was accepted, if it has come to its end meanwhile or somebody was faster.
        """

    async def content(self, message: str) -> StoredMessage:
        """Return the stored body of the message whose id begins with ``message``; raises ``LookupError``."""

    async def sweep(self, before: float, limit: int = 200) -> int:
        """Drop up to ``limit`` messages that were finished before ``before``; return how many."""

    async def set_draining(self, draining: bool) -> None:
        """Tell the other nodes of this spool, if there are any, whether this one takes new work."""

    async def nodes(self) -> Sequence[Node]:
        """Return the nodes that share this spool; none if it belongs to one process."""

    async def stock(self) -> QueueStats:
        """Count what lies in the spool, at a cost that does not grow with it."""

    async def clock_stepped(self, seconds: float) -> None:
        """
        Put right what was written before our clock was put forward by ``seconds``; negative is back.

        No mail is older for it, and what waits still goes when it would have gone.
        """

    def refusal(self, size: int = 0) -> Reply | None:
        """
        Return why a message of ``size`` bytes cannot be taken now, or ``None`` if there is room for it.

        It costs nothing. What we write ourselves (a bounce) is not asked about.
        """

    @property
    def clock(self) -> Any:
        """Whose time the times in it are, with the timers of the reactor; ``None``: this machine's."""

    @property
    def complaint(self) -> str:
        """Why no mail is taken now: it is full, a write failed or hangs; ``""`` while all is well."""

    async def check_health(self) -> None:
        """
        See how much room there is, and whether what failed works again. It never raises.

        To be called about once a second; :meth:`refusal` and :attr:`complaint` are as old as the last call.
        """

    async def close(self) -> None:
        """Finish what is waiting to be committed and let go of the files."""


MimeTask = task.MimeTask
MailTooCostly = errors.MailTooCostly
MimeWorkerTimeout = errors.MimeWorkerTimeout
MimeWorkerUnavailable = errors.MimeWorkerUnavailable
MimeTaskError = errors.MimeTaskError


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

    :ivar name: as in the configuration.
    :ivar idempotent: whether a second request with the same
        :attr:`Delivery.operation_id` cannot deliver twice.
    """

    name: str
    idempotent: bool
    limits: Limits

    def lane(self, envelope: Envelope) -> str:
        """Return the key of the lane that ``envelope`` goes in; ``""`` is the provider's own."""

    def encoded_size(self, shape: Shape) -> tuple[int, int]:
        """
        Return the least and the most octets that the request for a mail of this shape may have.

        Both grow with the mail. They are the same where the request is the mail itself.
        """

    async def measure(self, envelope: Envelope, body: Body) -> int:
        """
        Return the octets of the largest request that the mail becomes, without sending anything.

        :raises MimeWorkerUnavailable: nobody could say; another time. So :class:`MimeWorkerTimeout`.
        :raises MailTooCostly: nobody ever will.
        """

    async def deliver(self, delivery: Delivery, body: Body, taken: Callable[[], None]) -> Results:
        """
        Attempt the delivery once; return an outcome for each of its recipients.

        It raises nothing that the provider or the network does to it: that is
        what the outcomes are for. ``taken`` may be called once, when the provider
        has the body and only its verdict is outstanding.
        """

    async def resolve(self, delivery: Delivery) -> Results | None:
        """
        Find out what became of an attempt whose outcome was lost; send nothing.

        ``None``: the provider cannot tell, or never saw it.
        """

    async def probe(self, lane: str) -> Outcome | None:
        """
        Try whether a blocked lane works again, without sending mail.

        ``Delivered``: it works. ``Blocked`` or ``Deferred``: it does not yet.
        ``None``: only a mail can tell.
        """

    async def close(self) -> None:
        """Close connections. No delivery is under way any more."""
