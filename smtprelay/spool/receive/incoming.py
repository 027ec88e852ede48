"""
A message on its way into the spool.

Up to one chunk stays in memory and is committed together with the envelope. What is larger goes to the disk
chunk by chunk while it arrives, as fast as the disk takes it: a large mail costs one chunk of memory, and
less when the relay's budget is used up.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

from attrs import Factory, define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from smtprelay.interfaces import Planner, fit
from smtprelay.mime.head import HeaderCollector, message_id_of, subject_of
from smtprelay.model.attempt import Settlement
from smtprelay.model.message import NOT_STORED, Draft, Planned, Refused, Reply
from smtprelay.model.shape import ShapeCounter
from smtprelay.spool.body import ArrivingBody
from smtprelay.spool.engines.transaction import SpoolFault
from smtprelay.spool.operations.accept import CHUNK, Arrival, accept, forget_chunks, store_chunk
from smtprelay.spool.operations.accept_attempted import adopt
from smtprelay.spool.part import SpoolContext
from smtprelay.spool.receive.capacity import FULL
from smtprelay.spool.seal import SealedLogin
from smtprelay.spool.tables.deliveries import storable

#: When memory is short a message goes to the disk in pieces of at least this size, not of whole chunks.
PIECE: Final = 64 * 1024


@define(eq=False)
class SpoolIncoming:
    """
    Implements :class:`smtprelay.interfaces.Incoming` for a spool.

    :param ours: a message of our own making, which is not refused for want of room.
    :param ended: how an attempt ended that was made already.
    """

    _draft: Draft
    _plan: Planner
    _context: SpoolContext
    _ours: bool = field(kw_only=True)
    _ended: Settlement | None = field(default=None, kw_only=True)
    _parts: list[bytes] = field(factory=list, init=False)
    _held: int = field(default=0, init=False)
    #: Number of held octets that were read before the others were stored.
    _known: int = field(default=0, init=False)
    _shape: ShapeCounter = field(factory=ShapeCounter, init=False)
    _chunks: int = field(default=0, init=False)
    _header: HeaderCollector = field(factory=HeaderCollector, init=False)
    _fault: SpoolFault | Refused | None = field(default=None, init=False)
    id: str = field(default=Factory(lambda self: self._draft.id, takes_self=True), init=False)

    def write(self, chunk: bytes) -> "Deferred[None] | None":
        if self._fault is not None:
            return None
        size = len(chunk)
        self._parts.append(chunk)
        self._held += size
        budget = self._context.options.budget
        budget.take(size)
        if self._held > CHUNK or (self._held >= PIECE and budget.exceeded):
            return self._spill()
        return None

    async def finish(self) -> Reply:
        """Make the message safe and return the reply to the end of data."""
        try:
            return await self.accept()
        except Refused as refused:
            self.abort()
            return refused.reply
        except Exception as error:  # noqa: BLE001 -- whatever it was, the message is not here and the client keeps it
            self.abort()
            # Of a piece that could not be stored the end only knows that it is missing.
            cause = self._fault or error
            self._tell_failure("accept", cause)
            return FULL if isinstance(cause, SpoolFault) and cause.full else NOT_STORED

    def abort(self) -> None:
        self._let_go()
        if self._chunks:
            self._context.writer.do(partial(forget_chunks, message=self.id)).addErrback(self._not_forgotten)
            self._chunks = 0

    async def accept(self) -> Reply:
        """
        Do as ``finish``, but raise what prevents it.

        :raises Refused: the plan would not have it, or there is no room.
        :raises SpoolFault: it could not be stored.
        """
        if self._fault is not None:
            raise self._fault
        self._check_room(self._held)
        context = self._context
        rest = b"".join(self._parts)
        self._read(rest[self._known :])
        head = self._header.head()
        shape = self._shape.shape()
        body = ArrivingBody(context.reader, self.id, shape.size, rest, context.writer.drained)
        planned = await fit.planned(self._plan, head, shape, self._draft.envelope, body)
        arrival = Arrival(
            draft=self._draft,
            shape=shape,
            subject=storable(subject_of(head)) if self._draft.keeps_subject else "",
            message_id=storable(message_id_of(head)),
            planned=planned,
            chunks=self._chunks,
            rest=rest,
            sealed=self._sealed(planned),
        )
        take = context.take
        try:
            claims = await context.writer.do(
                partial(accept, arrival=arrival, claiming=take is not None)
                if self._ended is None
                else partial(adopt, arrival=arrival, settlement=self._ended)
            )
        finally:
            self._let_go()
        context.capacity.count(len(arrival.planned), len(arrival.rest))
        self._tell(arrival)
        if take is not None and claims:
            take(claims)
        if take is not None and len(claims) < len(arrival.planned):
            take(())
        return Reply(code=250, enhanced="2.0.0", text=f"Ok: queued as {self.id}")

    def _sealed(self, planned: Sequence[Planned]) -> SealedLogin | None:
        """Return the login of the client as it is stored, if a provider may need it."""
        login = self._draft.login
        if login is None or not any(each.needs_login for each in planned):
            return None
        return self._context.options.sealer.seal(self.id, login)

    def _tell(self, arrival: Arrival) -> None:
        envelope, client = self._draft.envelope, self._draft.client
        if self._ended is not None:
            left = (each for each in envelope.recipients if each.address not in self._ended.closed)
            envelope = envelope.narrowed(tuple(left))
        self._context.options.events(
            "message.queued",
            message=self.id,
            sender=envelope.sender,
            recipients=", ".join(envelope.addresses),
            count=len(envelope.recipients),
            size=arrival.shape.size,
            client=client.address,
            listener=client.listener,
            user=client.user,
            tls=client.tls,
            message_id=arrival.message_id,
        )

    def _check_room(self, size: int) -> None:
        refusal = None if self._ours else self._context.capacity.refusal(size)
        if refusal is not None:
            raise Refused(refusal)

    def _read(self, content: bytes) -> None:
        """Note what the next octets are like, in as large a piece as is at hand."""
        self._shape.feed(content)
        self._header.feed(content)

    def _spill(self) -> "Deferred[None] | None":
        """Write whole chunks to the disk, or all there is if memory is short; fires when they are there."""
        content = b"".join(self._parts)
        self._read(content[self._known :])
        if not self._chunks and self._draft.counts_content:
            self._shape.begin_content(self._header.content_counter(), content)
        try:
            self._check_room(len(content))
        except Refused as refused:
            self._give_up(refused)
            return None
        whole = len(content) // CHUNK * CHUNK or len(content)
        self._parts = [content[whole:]]
        self._held = self._known = len(content) - whole
        return [self._store(content[start : start + CHUNK]) for start in range(0, whole, CHUNK)][-1]

    def _store(self, piece: bytes) -> "Deferred[None]":
        self._chunks += 1
        done = self._context.writer.do(partial(store_chunk, message=self.id, n=self._chunks, content=piece))
        return done.addErrback(self._failed).addBoth(self._is_on_disk, len(piece))

    def _is_on_disk(self, _: None, count: int) -> None:
        """Count a piece that we hold no more, stored or lost."""
        self._context.options.budget.give_back(count)
        self._context.capacity.count(0, count)

    def _failed(self, failure: Failure) -> None:
        """Remember that the message is lost; its client is refused at the end of the data."""
        fault = failure.value
        self._give_up(fault if isinstance(fault, SpoolFault) else SpoolFault(str(fault)))

    def _give_up(self, fault: SpoolFault | Refused) -> None:
        self._fault = self._fault or fault
        self._let_go()

    def _let_go(self) -> None:
        """Hold nothing any more."""
        self._context.options.budget.give_back(self._held)
        self._parts.clear()
        self._held = 0

    def _not_forgotten(self, failure: Failure) -> None:
        """The pieces stay until the spool can be written again."""
        self._context.unfinished.add(self.id)
        self._tell_failure("abort", failure.value)

    def _tell_failure(self, operation: str, cause: BaseException | None) -> None:
        """Report a failure; of the spool's own only the first until it can be written again."""
        ours = isinstance(cause, SpoolFault)
        if ours and not self._context.writer.is_news():
            return
        reason = str(cause) if ours else f"{type(cause).__name__}: {cause}"
        self._context.options.events("spool.failed", operation=operation, reason=reason, message=self.id)
