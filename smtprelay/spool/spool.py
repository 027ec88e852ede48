"""
An open spool: the mail's way through it, on a writer and a reader, and its other parts.

Which database it is, and on which threads, is the engine's business (:mod:`smtprelay.spool.engines.sqlite`,
:mod:`smtprelay.spool.engines.memory`); the modules of their names describe the operations.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from attrs import evolve

from smtprelay.interfaces import Planner, RefusedMail
from smtprelay.interfaces.spool import Archive, Maintenance, Permits, QueueAdmin
from smtprelay.model.attempt import Claim, ClaimBatch, Feedback, NewMessage, Permit, Settlement
from smtprelay.model.message import Delivery, Draft, Planned
from smtprelay.model.queue import FINAL
from smtprelay.model.route import RateLimit, Window
from smtprelay.spool.archive import SpoolArchive
from smtprelay.spool.body import with_bodies
from smtprelay.spool.engines.engine import Engine
from smtprelay.spool.engines.reader import Reader
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.spool.engines.write_health import WriteHealth
from smtprelay.spool.engines.writer import GroupedOperation, Writer
from smtprelay.spool.maintenance import clock_step
from smtprelay.spool.maintenance.maintenance import SpoolMaintenance
from smtprelay.spool.operations import claim, dsn_accept, permits, recover, refusals, settle
from smtprelay.spool.part import QueuePart, SpoolContext, SpoolPart, reads, writes
from smtprelay.spool.queue_admin import SpoolQueueAdmin
from smtprelay.spool.receive.capacity import Capacity
from smtprelay.spool.receive.incoming import SpoolIncoming

#: Deliveries whose times are put right in one transaction.
_SHIFTED: Final = 500


class QueueSpool(QueuePart):
    """
    Implements :class:`smtprelay.interfaces.spool.Spool`: the mail's way through it, and its other parts.

    :param engine: that of the writer; without it nothing is known of the files, and nothing done for them.
    """

    renew = writes(claim.renew)
    overdue = writes(dsn_accept.overdue)

    def __init__(
        self, writer: Writer, reader: Reader, options: SpoolOptions, engine: Engine | None = None
    ) -> None:
        capacity = Capacity(options.floors, options.events)
        context = SpoolContext(WriteHealth(writer), reader, options, engine or Engine(), capacity)
        super().__init__(context)
        self.wake = context.wake
        self.refusal = capacity.refusal
        self.admin: QueueAdmin = SpoolQueueAdmin(context)
        archive = SpoolArchive(context)
        self.archive: Archive = archive
        self.maintenance: Maintenance = SpoolMaintenance(context, archive)
        self.permits: Permits = SpoolPermits(context)
        self.refusals: RefusedMail = SpoolRefusals(context)

    def incoming(self, draft: Draft, plan: Planner, ended: Settlement | None = None) -> SpoolIncoming:
        # What a provider took for some must not be refused for the others.
        return SpoolIncoming(draft, plan, self._context, ours=ended is not None, ended=ended)

    async def accept(self, draft: Draft, body: bytes, planned: Sequence[Planned]) -> None:
        incoming = SpoolIncoming(draft, lambda *_: planned, self._context, ours=True)
        waiting = incoming.write(body)
        if waiting is not None:
            await waiting
        try:
            await incoming.accept()
        except Exception:
            incoming.abort()
            raise

    def listen(self, take: Callable[[Sequence[Claim]], None] | None) -> None:
        self._context.take = take

    async def claim(self, limit: int = 50) -> ClaimBatch:
        return await with_bodies(self._reader.do, await self._writer.do(partial(claim.claim, limit=limit)))

    async def release_slot(self, claimed: Claim) -> None:
        await self._writer.do(partial(claim.release_slot, claimed=claimed))
        self._context.tell_room()

    async def settle(self, claimed: Claim, settlement: Settlement) -> bool:
        ours = await self._writer.do(GroupedOperation(settle.settle, (claimed, settlement)))
        if ours and settlement.state in FINAL:
            self._context.capacity.count(-1)
        elif ours and settlement.split:
            self._context.capacity.count(1)
        self._context.tell_room()
        return ours

    async def notify(self, delivery: Delivery, notice: NewMessage) -> bool:
        ours = await self._writer.do(partial(dsn_accept.notify, delivery=delivery, notice=notice))
        if ours:
            self.wake()
        return ours

    async def recover(self) -> int:
        return (await self._writer.do(recover.recover)).report(self._events)

    async def release(self) -> int:
        return (await self._writer.do(recover.put_back_own)).report(self._events)

    async def change_rate(self, provider: str, windows: tuple[Window, ...]) -> None:
        limits = self._context.options.rate_limits
        limits[provider] = evolve(limits[provider], windows=windows)
        await self._writer.do(partial(claim.recheck, provider=provider))
        self.wake()

    async def reconfigure(self, rate_limits: Mapping[str, RateLimit]) -> None:
        current = self._context.options.rate_limits
        before = dict(current)
        try:
            await self._writer.do(partial(recover.reconfigure, rate_limits=dict(rate_limits)))
        except Exception:
            recover.replace(current, before)
            raise
        self.wake()

    async def clock_stepped(self, seconds: float) -> None:
        if self.clock is not None:
            return
        await self._writer.do(partial(clock_step.shift_lanes, seconds=seconds))
        while await self._writer.do(partial(clock_step.shift_deliveries, seconds=-seconds, limit=_SHIFTED)):
            pass

    async def close(self) -> None:
        engine = self._context.engine
        self._context.take = None
        engine.stop()
        await self._reader.close()
        await self._writer.close()
        engine.release()


class SpoolPermits(SpoolPart):
    """Implements :class:`smtprelay.interfaces.spool.Permits`."""

    acquire = writes(permits.acquire)

    async def give_back(self, permit: Permit, feedback: Feedback | None = None) -> None:
        waited_for = await self._writer.do(partial(permits.give_back, permit=permit, feedback=feedback))
        self._context.tell_room()
        if waited_for:
            self._context.wake()

    async def room(self) -> None:
        await self._context.room()


class SpoolRefusals(SpoolPart):
    """Implements :class:`smtprelay.interfaces.RefusedMail`."""

    record = writes(refusals.record)
    refused = reads(refusals.refused)
    clear = writes(refusals.clear)
