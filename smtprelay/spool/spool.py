"""
The spool that the other stations see: the queue operations, on a writer and a reader.

Which database it is, and on which threads, is the engine's business (:mod:`smtprelay.spool.engines.sqlite`,
:mod:`smtprelay.spool.engines.memory`); what an operation does is said in the modules of that name.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from attrs import evolve

from smtprelay.interfaces import Plan
from smtprelay.model.attempt import Block, Claim, ClaimBatch, NewMessage, Settlement
from smtprelay.model.export_import import Archive
from smtprelay.model.maintenance import Maintenance
from smtprelay.model.message import Delivery, Draft, Planned, Reply
from smtprelay.model.permit import Feedback, Permit
from smtprelay.model.queue import (
    FINAL,
    Detail,
    DueSelection,
    Edit,
    QueueStats,
    Selection,
    Summary,
)
from smtprelay.model.queue_admin import MOST_LOOKED_AT, Edited, Found, HoldRule, Prepare, RefusedMail
from smtprelay.model.unreachable import Unreachable
from smtprelay.spool.archive import SpoolArchive
from smtprelay.spool.bodies import with_bodies
from smtprelay.spool.body import StoredBody
from smtprelay.spool.engines.engine import Engine
from smtprelay.spool.engines.options import SpoolOptions
from smtprelay.spool.engines.reader import Reader, reads
from smtprelay.spool.engines.sqlite_reserve import GONE
from smtprelay.spool.engines.write_health import WriteHealth
from smtprelay.spool.engines.writer import GroupedOperation, Writer, writes
from smtprelay.spool.maintenance import clock_step, retention
from smtprelay.spool.maintenance.maintenance import SpoolMaintenance
from smtprelay.spool.operations import claim, dsn_accept, nodes, permits, recover, settle
from smtprelay.spool.operations.accept import forget_chunks
from smtprelay.spool.operations.bulk_edit import BulkEdit
from smtprelay.spool.operations.refusals import SpoolRefusals
from smtprelay.spool.operations.unreachable import note_reach
from smtprelay.spool.query import views
from smtprelay.spool.receive.capacity import Capacity
from smtprelay.spool.receive.incoming import SpoolIncoming
from smtprelay.spool.tables import hold_rules

T = TypeVar("T")

#: Deliveries whose times are put right in one transaction.
_PULLED: Final = 500


class QueueSpool:
    """
    See :class:`smtprelay.interfaces.Spool`.

    :param engine: that of the writer, for what is not about transactions; without it nothing is known of the
        files, and nothing is done for them.
    """

    renew = writes(claim.renew)
    borrow = writes(permits.borrow)
    overdue = writes(dsn_accept.overdue)
    unhold = writes(hold_rules.end)
    holds = reads(hold_rules.rules)
    set_draining = writes(nodes.set_draining)
    nodes = reads(nodes.nodes)
    sweep = writes(retention.sweep)

    def __init__(
        self, writer: Writer, reader: Reader, terms: SpoolOptions, engine: Engine | None = None
    ) -> None:
        self._writer = WriteHealth(writer)
        self._reader = reader
        self._paces, self._events, self._budget = terms.paces, terms.events, terms.budget
        self._engine = engine = engine or Engine()
        self._admission = Capacity(terms.floors, terms.events)
        self._unreadable = ""
        self._orphans: set[str] = set()
        self.clock: Any = engine.clock
        transfer = SpoolArchive(self._writer, reader, terms.events, self.wake)
        self.transfer: Archive = transfer
        self._abandoned = transfer.abandoned
        self.upkeep: Maintenance = SpoolMaintenance(self._writer, reader, engine)
        self.refusals: RefusedMail = SpoolRefusals(self._writer, reader)
        self._take: Callable[[Sequence[Claim]], None] | None = None
        self._make_room: Callable[[], None] = lambda: None

    def wake(self) -> None:
        """Tell who listens that there may be something to do."""
        if self._take is not None:
            self._take(())

    def incoming(self, draft: Draft, plan: Plan, ended: Settlement | None = None) -> SpoolIncoming:
        """Return where the body of ``draft`` goes; its ``finish`` accepts the message."""
        # What a provider took for some must not be refused for the others.
        return self._incoming(draft, plan, ours=ended is not None, ended=ended)

    def _incoming(
        self, draft: Draft, plan: Plan, *, ours: bool = False, ended: Settlement | None = None
    ) -> SpoolIncoming:
        return SpoolIncoming(
            draft,
            plan,
            self._writer,
            self._reader,
            self._events,
            listener=lambda: self._take,
            admission=self._admission,
            budget=self._budget,
            forget=self._orphans.add,
            ours=ours,
            ended=ended,
        )

    async def accept(self, draft: Draft, body: bytes, planned: Sequence[Planned]) -> None:
        """Take a whole message of our own making (a bounce, a test mail)."""
        incoming = self._incoming(draft, lambda *_: planned, ours=True)
        waiting = incoming.write(body)
        if waiting is not None:
            await waiting
        try:
            await incoming.accept()
        except Exception:
            incoming.abort()
            raise

    def listen(self, take: Callable[[Sequence[Claim]], None] | None) -> None:
        """Have ``take`` called after each accept; ``None``: nobody listens any more."""
        self._take = take

    async def claim(self, limit: int = 50) -> ClaimBatch:
        """Take what may go now: one delivery from each ready lane in turn."""
        return await with_bodies(self._reader.do, await self._writer.do(partial(claim.claim, limit=limit)))

    async def release_slot(self, claimed: Claim) -> None:
        """Release the send slot of ``claim``: the provider has the body, the outcome comes later."""
        await self._writer.do(partial(claim.release_slot, claimed=claimed))
        self._make_room()

    async def settle(self, claimed: Claim, settlement: Settlement) -> bool:
        """Record what became of an attempt, once."""
        ours = await self._writer.do(GroupedOperation(settle.settle, (claimed, settlement)))
        if ours and settlement.state in FINAL:
            self._admission.ended(1)
        elif ours and settlement.split:
            self._admission.came(1, 0)
        self._make_room()
        return ours

    async def give_back(self, permit: Permit, feedback: Feedback | None = None) -> None:
        """Release the slot of ``permit``, and learn from what came of it."""
        waited_for = await self._writer.do(partial(permits.give_back, permit=permit, feedback=feedback))
        self._make_room()
        if waited_for:
            self.wake()

    def when_room(self, ask: Callable[[], None]) -> None:
        """Have ``ask`` called, on the reactor, when a slot may have become free, or a lane was opened."""
        self._make_room = ask

    def body(self, delivery: Delivery) -> "StoredBody":
        """Return the stored body of a delivery. Reading it raises ``LookupError`` if it is gone."""
        return StoredBody(self._reader, delivery.message, delivery.size)

    async def recover(self) -> int:
        """Put back what this node held when it died; return how many deliveries."""
        return (await self._writer.do(recover.recover)).told(self._events)

    async def release(self) -> int:
        """Put back what this node holds, for it stops."""
        return (await self._writer.do(recover.put_back_own)).told(self._events)

    async def reclaim(self) -> int:
        """Put back what other nodes held when they died or froze; return how many deliveries."""
        count = (await self._writer.do(recover.reclaim)).told(self._events)
        if count:
            self.wake()
        return count

    async def block(self, block: Block) -> None:
        """Stop a lane until ``block.until``, or, with ``reason`` empty, open it again."""
        await self._writer.do(partial(settle.set_block, block=block))
        self._make_room()

    async def notify(self, delivery: Delivery, told: NewMessage) -> bool:
        """Accept ``notice``, the only one of its kind for ``delivery``."""
        ours = await self._writer.do(partial(dsn_accept.notify, delivery=delivery, notice=told))
        if ours:
            self.wake()
        return ours

    async def edit(
        self,
        selection: Selection | DueSelection,
        change: Edit,
        mark: str = "",
        prepare: Prepare | None = None,
    ) -> Edited:
        """Carry out one step of a change, in transactions of up to 200 deliveries."""
        editing = BulkEdit(
            reader=self._reader, writer=self._writer, selection=selection, change=change, prepare=prepare
        )
        edited = await editing.step(mark)
        if edited.count and not change.dry_run:
            ids = ", ".join(edited.ids)
            told = {"who": change.who, "action": change.action, "why": change.why}
            self._events("queue.edited", **told, ids=ids, count=edited.count)
            self.wake()
        return edited

    async def search(self, selection: Selection, mark: str = "") -> Found:
        """Return deliveries that match, the oldest first."""
        lines: list[Summary] = []
        looked, left = 0, selection.limit
        while left > 0 and looked < MOST_LOOKED_AT:
            question = partial(views.found, selection=selection, paces=self._paces, mark=mark, limit=left)
            found, more = await self._reader.do(question)
            lines += found.deliveries
            looked, mark, left = looked + more, found.mark, selection.limit - len(lines)
            if not mark:
                break
        return Found(deliveries=lines, mark=mark, partial=bool(mark) and left > 0)

    async def list(self, selection: Selection) -> Sequence[Summary]:
        """Return what :meth:`search` finds at first."""
        return (await self.search(selection)).deliveries

    async def hold(self, rule: HoldRule) -> HoldRule:
        """Hold by ``rule`` what comes in from now on, not yet what waits; return it with its id."""
        number = await self._writer.do(partial(hold_rules.make, rule=rule))
        self._events("hold_rule.added", rule=number, who=rule.who, why=rule.reason)
        return evolve(rule, id=number)

    async def apply_hold_rules(self) -> float | None:
        """Do one step of what the rules ask for."""
        due = await self._writer.do(hold_rules.due)
        if due.rule is None:
            return due.when
        rule = due.rule
        if due.mark is not None:
            edited = await self.edit(*hold_rules.holding(rule), mark=due.mark)
            await self._writer.do(partial(hold_rules.proceed, number=rule.id, mark=edited.mark))
        else:
            edited = await self.edit(*hold_rules.releasing(rule, due.ended_by))
            if not edited.mark and await self._writer.do(partial(hold_rules.drop, number=rule.id)):
                self._events("hold_rule.removed", rule=rule.id, who=due.ended_by or "its time is over")
        return 0.0

    async def note_reach(self, provider: str, trouble: Unreachable | None) -> bool:
        """Write down that this node cannot reach a provider, or reaches it again; its mail goes now."""
        alone = await self._writer.do(partial(note_reach, provider=provider, trouble=trouble))
        if trouble is None:
            self.wake()
        return alone

    async def content(self, message: str) -> "StoredBody":
        """Return the stored body of the message whose id begins with ``message``; raises ``LookupError``."""
        name, size = await self._reader.do(partial(views.message_of, text=message))
        return StoredBody(self._reader, name, size)

    async def show(self, message: str) -> Sequence[Detail]:
        """Return all deliveries of the message whose id begins with ``message``."""
        return await self._reader.do(partial(views.details, message=message, paces=self._paces))

    async def stock(self) -> QueueStats:
        """Count what lies in the spool, at a cost that does not grow with it."""
        return await self._reader.do(lambda each: views.stock(each, self._paces, *self._engine.measure(each)))

    async def clock_stepped(self, seconds: float) -> None:
        """Put right what was written before our clock was put forward by ``seconds``; negative is back."""
        if self.clock is not None:
            return
        await self._writer.do(partial(clock_step.shift_lanes, seconds=seconds))
        while await self._writer.do(partial(clock_step.pull, seconds=-seconds, limit=_PULLED)):
            pass

    # --- whether it takes mail

    def refusal(self, size: int = 0) -> Reply | None:
        """Return why a message of ``size`` bytes cannot be taken now, or ``None`` if there is room for it."""
        return self._admission.refusal(size)

    @property
    def complaint(self) -> str:
        """Why no mail is taken now: it is full, a write failed or hangs; ``""`` while all is well."""
        full = self._admission.full
        return self._writer.trouble or self._writer.silence or self._unreadable or (full and f"full: {full}")

    async def check_health(self) -> None:
        """See how much room there is, and whether what failed works again. It never raises."""
        await self._live_within_means()
        try:
            usage = await self._reader.do(lambda each: views.usage(each, self._engine.disk(each)))
            self._admission.measured(usage)
            if self._admission.full:
                await self._reader.do(self._engine.reuse_log)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is the reason
            self._unreadable = str(error) or type(error).__name__
        else:
            self._unreadable = ""
        if await self._writer.retry_write():
            self._events("spool.writable")
            self.wake()
        self._orphans.update(self._abandoned())
        if not self._writer.trouble:
            await self._forget_orphans()

    async def _live_within_means(self) -> None:
        """Give the reserve up for delivery when the disk is full, and take it back when it is not."""
        reserve, troubled = self._engine.reserve, bool(self._writer.trouble)
        if reserve is None or (reserve.kept and not troubled):
            return
        with suppress(Exception):  # the disk fails in another way, which is told elsewhere
            await self._reader.do(lambda _: reserve.review(troubled=troubled))
            self._admission.starve("" if reserve.kept else GONE)
            if not reserve.kept:
                # Mail that is on its way to the disk fails before there is room that is not for it.
                await self._writer.drained()
                await self._reader.do(lambda _: reserve.give_up())

    async def _forget_orphans(self) -> None:
        """Drop the pieces of messages that never came, and that could not be dropped at their time."""
        while self._orphans and not self._writer.trouble:
            message = self._orphans.pop()
            try:
                await self._writer.do(partial(forget_chunks, message=message))
            except Exception as error:  # noqa: BLE001 -- later, then
                self._orphans.add(message)
                self._events("spool.failed", operation="abort", reason=str(error), message=message)
                return

    async def close(self) -> None:
        """Finish what is waiting to be committed and let go of the files."""
        self._take = None
        self._engine.stop()
        await self._reader.close()
        await self._writer.close()
        self._engine.release()
