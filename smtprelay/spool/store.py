"""
The spool that the other stations see: the queue operations, on a writer and a reader.

Which database it is, and on which threads it is used, is the engine's business
(:mod:`smtprelay.spool.sqlite`, :mod:`smtprelay.spool.memory`); what an
operation does is said in the modules of that name.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar

from twisted.internet.defer import Deferred

from smtprelay.budget import Budget
from smtprelay.interfaces import Events, Plan, Work
from smtprelay.loan import Lesson, Loan, NoRoom
from smtprelay.message import Claim, Delivery, Draft, Pace, Planned, Reply
from smtprelay.queue import (
    FINAL,
    Block,
    Detail,
    Detour,
    Edit,
    Moved,
    NewMessage,
    OverduePage,
    Selection,
    Settlement,
    Stock,
    Summary,
)
from smtprelay.spool import borrow, claim, edit, history, move, notice, query, recover, settle, step
from smtprelay.spool.accept import forget_chunks
from smtprelay.spool.admission import Admission, Floors, Space, Usage
from smtprelay.spool.connection import Connection
from smtprelay.spool.incoming import SpoolIncoming
from smtprelay.spool.pulse import Pulse
from smtprelay.spool.writer import Together, Writer

T = TypeVar("T")

#: Deliveries whose times are put right in one transaction.
_PULLED: Final = 500


class Reader(Protocol):
    """Answers questions about what is committed."""

    def do(self, question: Callable[[Connection], T]) -> Deferred[T]:
        """Ask ``question``; it fails with what the question raised."""

    def close(self) -> Deferred[None]:
        """Let go of the database."""


class QueueSpool:
    """
    See :class:`smtprelay.interfaces.Spool`.

    :param measure: gives the size of the spool's files and the free bytes beside them.
    :param space: gives the disk under the spool; called on the thread that reads.
    :param shrink: has the spool take less of the disk, as far as that can be; on the thread that reads.
    :param floors: the limits beyond which nothing is accepted.
    :param budget: of memory for what is being received.
    :param own_clock: the times in it are those of this machine's clock.
    :param release: lets go of what proves that the spool is ours, after the last write.
    """

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        paces: Mapping[str, Pace],
        events: Events,
        *,
        measure: Callable[[Connection], tuple[int, int | None]] = lambda _: (0, None),
        space: Callable[[Connection], Space] = lambda _: Space(),
        shrink: Callable[[Connection], object] = lambda _: None,
        floors: Floors | None = None,
        budget: Budget | None = None,
        own_clock: bool = True,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self._writer = Pulse(writer)
        self._reader = reader
        self._paces = paces
        self._events = events
        self._measure = measure
        self._space = space
        self._shrink = shrink
        self._budget = budget or Budget()
        self._admission = Admission(floors or Floors(), events)
        self._unreadable = ""
        self._orphans: set[str] = set()
        self._own_clock = own_clock
        self._release = release
        self._last_chores: list[Callable[[], object]] = []
        self._take: Callable[[Sequence[Claim]], None] | None = None
        self._make_room: Callable[[], None] = lambda: None

    def at_close(self, chore: Callable[[], object]) -> None:
        """Have ``chore`` called when the spool is closed, before its last write."""
        self._last_chores.append(chore)

    def wake(self) -> None:
        """Tell who listens that there may be something to do."""
        if self._take is not None:
            self._take(())

    def incoming(self, draft: Draft, plan: Plan, ended: Settlement | None = None) -> SpoolIncoming:
        """See :meth:`smtprelay.interfaces.Spool.incoming`."""
        # What a provider took for some must not be refused for the others.
        return self._incoming(draft, plan, ours=ended is not None, ended=ended)

    def _incoming(
        self, draft: Draft, plan: Plan, *, ours: bool = False, ended: Settlement | None = None
    ) -> SpoolIncoming:
        return SpoolIncoming(
            draft,
            plan,
            self._writer,
            self._events,
            lambda: self._take,
            admission=self._admission,
            budget=self._budget,
            forget=self._orphans.add,
            ours=ours,
            ended=ended,
        )

    async def accept(self, draft: Draft, body: bytes, planned: Sequence[Planned]) -> None:
        """See :meth:`smtprelay.interfaces.Spool.accept`."""
        incoming = self._incoming(draft, lambda _pairs, _size: planned, ours=True)
        waiting = incoming.write(body)
        if waiting is not None:
            await waiting
        try:
            await incoming.accept()
        except Exception:
            incoming.abort()
            raise

    def listen(self, take: Callable[[Sequence[Claim]], None] | None) -> None:
        """See :meth:`smtprelay.interfaces.Spool.listen`; ``None``: nobody listens any more."""
        self._take = take

    async def claim(self, limit: int = 50) -> Work:
        """See :meth:`smtprelay.interfaces.Spool.claim`."""
        return await self._writer.do(partial(claim.claim, limit=limit))

    async def taken(self, claimed: Claim) -> None:
        """See :meth:`smtprelay.interfaces.Spool.taken`."""
        await self._writer.do(partial(claim.taken, claimed=claimed))
        self._make_room()

    async def renew(self, claims: Sequence[Claim]) -> None:
        """See :meth:`smtprelay.interfaces.Spool.renew`."""
        await self._writer.do(partial(claim.renew, claims=claims))

    async def settle(self, claimed: Claim, settlement: Settlement) -> bool:
        """See :meth:`smtprelay.interfaces.Spool.settle`."""
        ours = await self._writer.do(Together(settle.settle, (claimed, settlement)))
        if ours and settlement.state in FINAL:
            self._admission.ended(1)
        self._make_room()
        return ours

    async def borrow(self, name: str, provider: str, lane: str) -> Loan | NoRoom:
        """See :meth:`smtprelay.interfaces.Spool.borrow`."""
        return await self._writer.do(partial(borrow.borrow, name=name, provider=provider, key=lane))

    async def give_back(self, loan: Loan, lesson: Lesson | None = None) -> None:
        """See :meth:`smtprelay.interfaces.Spool.give_back`."""
        waited_for = await self._writer.do(partial(borrow.give_back, loan=loan, lesson=lesson))
        self._make_room()
        if waited_for:
            self.wake()

    def when_room(self, ask: Callable[[], None]) -> None:
        """See :meth:`smtprelay.interfaces.Spool.when_room`."""
        self._make_room = ask

    def body(self, delivery: Delivery) -> "StoredBody":
        """See :meth:`smtprelay.interfaces.Spool.body`."""
        return StoredBody(self._reader, delivery.message, delivery.size)

    async def recover(self) -> int:
        """See :meth:`smtprelay.interfaces.Spool.recover`."""
        return await self._writer.do(recover.recover)

    async def reclaim(self) -> int:
        """See :meth:`smtprelay.interfaces.Spool.reclaim`."""
        count = await self._writer.do(recover.reclaim)
        if count:
            self.wake()
        return count

    async def block(self, block: Block) -> None:
        """See :meth:`smtprelay.interfaces.Spool.block`."""
        await self._writer.do(partial(settle.set_block, block=block))
        self._make_room()

    async def move(self, detour: Detour, limit: int = 100) -> Moved:
        """See :meth:`smtprelay.interfaces.Spool.move`."""
        return await self._writer.do(partial(move.move, detour=detour, limit=limit))

    async def overdue(self, before: float, mark: tuple[str, int] = ("", 0), limit: int = 200) -> OverduePage:
        """See :meth:`smtprelay.interfaces.Spool.overdue`."""
        return await self._writer.do(partial(notice.overdue, before=before, mark=mark, limit=limit))

    async def notify(self, delivery: Delivery, told: NewMessage) -> bool:
        """See :meth:`smtprelay.interfaces.Spool.notify`."""
        ours = await self._writer.do(partial(notice.notify, delivery=delivery, notice=told))
        if ours:
            self.wake()
        return ours

    async def edit(self, selection: Selection, change: Edit) -> Sequence[str]:
        """See :meth:`smtprelay.interfaces.Spool.edit`."""
        done = await self._writer.do(partial(edit.edit, selection=selection, change=change))
        self._events(
            "queue.edited", who=change.who, action=change.action, ids=", ".join(done), why=change.why
        )
        self.wake()
        return done

    async def list(self, selection: Selection) -> Sequence[Summary]:
        """See :meth:`smtprelay.interfaces.Spool.list`."""
        return await self._reader.do(partial(query.summaries, selection=selection, paces=self._paces))

    async def show(self, message: str) -> Sequence[Detail]:
        """See :meth:`smtprelay.interfaces.Spool.show`."""
        return await self._reader.do(partial(query.details, message=message, paces=self._paces))

    async def stock(self) -> Stock:
        """See :meth:`smtprelay.interfaces.Spool.stock`."""
        return await self._reader.do(self._count)

    async def sweep(self, before: float, limit: int = 200) -> int:
        """Drop up to ``limit`` finished messages that ended before ``before``; return how many."""
        return await self._writer.do(partial(history.sweep, before=before, limit=limit))

    async def stepped(self, seconds: float) -> None:
        """See :meth:`smtprelay.interfaces.Spool.stepped`."""
        if not self._own_clock:
            return
        await self._writer.do(partial(step.shift_lanes, seconds=seconds))
        while await self._writer.do(partial(step.pull, seconds=-seconds, limit=_PULLED)):
            pass

    def _count(self, connection: Connection) -> Stock:
        (states, oldest), (size, free) = query.counts(connection), self._measure(connection)
        return Stock(states=states, bytes=size, free=free, oldest=oldest, lanes=query.lane_states(connection))

    # --- whether it takes mail

    def refusal(self, size: int = 0) -> Reply | None:
        """See :meth:`smtprelay.interfaces.Spool.refusal`."""
        return self._admission.refusal(size)

    @property
    def complaint(self) -> str:
        """See :attr:`smtprelay.interfaces.Spool.complaint`."""
        full = self._admission.full
        return self._writer.trouble or self._unreadable or (full and f"full: {full}")

    async def look(self) -> None:
        """See :meth:`smtprelay.interfaces.Spool.look`."""
        try:
            self._admission.measured(await self._reader.do(self._usage))
            if self._admission.full:
                await self._reader.do(self._shrink)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is the reason
            self._unreadable = str(error) or type(error).__name__
        else:
            self._unreadable = ""
        if await self._writer.beat():
            self._events("spool.writable")
            self.wake()
        if not self._writer.trouble:
            await self._forget_orphans()

    def _usage(self, connection: Connection) -> Usage:
        return Usage(messages=query.alive(connection), space=self._space(connection))

    async def _forget_orphans(self) -> None:
        """Drop the pieces of messages that never came, and that could not be dropped at their time."""
        while self._orphans and not self._writer.trouble:
            message = self._orphans.pop()
            try:
                await self._writer.do(partial(forget_chunks, message=message))
            except Exception as error:  # noqa: BLE001 -- later, then
                self._orphans.add(message)
                self._events("spool.failed", operation="abort", reason=str(error), id=message)
                return

    async def close(self) -> None:
        """See :meth:`smtprelay.interfaces.Spool.close`."""
        self._take = None
        for chore in self._last_chores:
            chore()
        await self._reader.close()
        await self._writer.close()
        self._release()


class StoredBody:
    """See :class:`smtprelay.interfaces.Body`."""

    def __init__(self, reader: Reader, message: str, size: int) -> None:
        self.size = size
        self._reader = reader
        self._message = message

    async def chunks(self) -> AsyncIterator[bytes]:
        """See :meth:`smtprelay.interfaces.Body.chunks`."""
        n = had = 0
        while True:
            n += 1
            content = await self._reader.do(partial(_chunk, message=self._message, n=n))
            if content is None:
                break
            had += len(content)
            yield content
        if n == 1:
            raise LookupError(f"the body of {self._message} is gone")
        if had != self.size:
            raise LookupError(f"the body of {self._message} has {had} bytes instead of {self.size}")

    async def whole(self) -> bytes:
        """See :meth:`smtprelay.interfaces.Body.whole`."""
        return b"".join([chunk async for chunk in self.chunks()])


def _chunk(connection: Connection, message: str, n: int) -> bytes | None:
    row = connection.execute("SELECT content FROM chunk WHERE message = ? AND n = ?", (message, n)).fetchone()
    return None if row is None else bytes(row[0])
