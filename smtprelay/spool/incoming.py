"""
A message on its way into the spool.

Up to one chunk stays in memory and is committed together with the envelope. What is
larger goes to the disk chunk by chunk while it arrives, and the sender is
slowed to the disk's pace: a listener full of large mails costs one chunk for each.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from twisted.internet.defer import Deferred

from smtprelay import headers
from smtprelay.interfaces import Events, Plan
from smtprelay.message import Claim, Draft, Refused, Reply
from smtprelay.spool.accept import CHUNK, Arrival, accept, forget_chunks, store_chunk
from smtprelay.spool.connection import SpoolFault
from smtprelay.spool.stored import storable
from smtprelay.spool.writer import Operation, Writer

T = TypeVar("T")

#: RFC 3463: X.3.1 mail system full; X.3.0 other or undefined mail system status.
FULL = Reply(code=452, enhanced="4.3.1", text="The spool is full, try again later", rule="spool-full")
FAULT = Reply(
    code=451, enhanced="4.3.0", text="The message could not be stored, try again later", rule="spool"
)


class SpoolIncoming:
    """See :class:`smtprelay.interfaces.Incoming`."""

    __slots__ = (
        "_chunks",
        "_draft",
        "_events",
        "_fault",
        "_head",
        "_held",
        "_listener",
        "_parts",
        "_plan",
        "_size",
        "_writer",
        "id",
    )

    def __init__(
        self,
        draft: Draft,
        plan: Plan,
        writer: Writer,
        events: Events,
        listener: Callable[[], Callable[[Sequence[Claim]], None] | None],
    ) -> None:
        self.id = draft.id
        self._draft = draft
        self._plan = plan
        self._writer = writer
        self._events = events
        self._listener = listener
        self._parts: list[bytes] = []
        self._held = 0
        self._size = 0
        self._chunks = 0
        self._head = b""
        self._fault: SpoolFault | None = None

    def write(self, chunk: bytes) -> "Deferred[None] | None":
        """See :meth:`smtprelay.interfaces.Incoming.write`."""
        self._size += len(chunk)
        if self._fault is not None:
            return None
        self._parts.append(chunk)
        self._held += len(chunk)
        return self._spill() if self._held > CHUNK else None

    async def finish(self) -> Reply:
        """See :meth:`smtprelay.interfaces.Incoming.finish`."""
        try:
            return await self.accept()
        except Refused as refused:
            self.abort()
            return refused.reply
        except Exception as error:  # noqa: BLE001 -- whatever it was, the message is not here and the client keeps it
            self._events("spool.failed", operation="accept", reason=_said(error), id=self.id)
            self.abort()
            return FULL if isinstance(error, SpoolFault) and error.full else FAULT

    def abort(self) -> None:
        """See :meth:`smtprelay.interfaces.Incoming.abort`."""
        self._parts.clear()
        if self._chunks:
            self._writer.do(partial(forget_chunks, message=self.id)).addErrback(self._not_forgotten)
            self._chunks = 0

    async def accept(self) -> Reply:
        """
        Do as ``finish``, but raise what prevents it.

        :raises Refused: the plan would not have it.
        :raises SpoolFault: it could not be stored.
        """
        if self._fault is not None:
            raise self._fault
        rest = b"".join(self._parts)
        pairs = headers.fields(headers.block(self._head or rest))
        arrival = Arrival(
            draft=self._draft,
            size=self._size,
            subject=storable(headers.readable(headers.first(pairs, "Subject"))),
            message_id=storable(headers.first(pairs, "Message-ID")),
            planned=self._plan(pairs, self._size),
            chunks=self._chunks,
            rest=rest,
        )
        take = self._listener()
        claims = await self._writer.do(partial(accept, arrival=arrival, claiming=take is not None))
        self._tell(arrival)
        if take is not None and claims:
            take(claims)
        if take is not None and len(claims) < len(arrival.planned):
            take(())
        return Reply(code=250, enhanced="2.0.0", text=f"Ok: queued as {self.id}")

    def _tell(self, arrival: Arrival) -> None:
        envelope, client = self._draft.envelope, self._draft.client
        self._events(
            "message.queued",
            id=self.id,
            sender=envelope.sender,
            recipients=", ".join(envelope.addresses),
            count=len(envelope.recipients),
            size=self._size,
            client=client.address,
            listener=client.listener,
            user=client.user,
            tls=client.tls,
            message_id=arrival.message_id,
        )

    def _spill(self) -> "Deferred[None]":
        """Write whole chunks to the disk; fires when the last of them is there."""
        content = b"".join(self._parts)
        whole = len(content) // CHUNK * CHUNK
        if not self._chunks:
            self._head = headers.block(content)
        for start in range(0, whole, CHUNK):
            self._chunks += 1
            piece = content[start : start + CHUNK]
            done = self._do(partial(store_chunk, message=self.id, n=self._chunks, content=piece))
        self._parts = [content[whole:]]
        self._held = len(content) - whole
        return done

    def _do(self, operation: Operation[None]) -> "Deferred[None]":
        return self._writer.do(operation).addErrback(self._failed)

    def _failed(self, failure: object) -> None:
        """Remember that the message is lost; its sender is told at the end of the data."""
        fault = getattr(failure, "value", None)
        self._fault = fault if isinstance(fault, SpoolFault) else SpoolFault(str(fault))
        self._parts.clear()
        self._held = 0

    def _not_forgotten(self, failure: object) -> None:
        """The pieces stay until the next start sweeps them."""
        self._events("spool.failed", operation="abort", reason=str(getattr(failure, "value", "")), id=self.id)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, SpoolFault) else f"{type(error).__name__}: {error}"
