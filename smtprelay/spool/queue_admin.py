"""
What an operator sees and changes in the queue, on the spool's writer and its reader.
"""

from collections.abc import Sequence
from functools import partial

from attrs import evolve

from smtprelay.interfaces import Prepare
from smtprelay.model.queue import (
    Detail,
    DueSelection,
    Edit,
    LaneState,
    QueueStats,
    Selection,
    Summary,
    Unreachable,
)
from smtprelay.model.queue_admin import MOST_SEARCHED, Edited, Found, HoldRule
from smtprelay.spool.body import StoredBody
from smtprelay.spool.operations import recover
from smtprelay.spool.operations.bulk_edit import BulkEdit
from smtprelay.spool.operations.unreachable import note_reachability
from smtprelay.spool.part import QueuePart, SpoolContext, reads, writes
from smtprelay.spool.query import views
from smtprelay.spool.tables import hold_rules


class SpoolQueueAdmin(QueuePart):
    """Implements :class:`smtprelay.interfaces.spool.QueueAdmin`; the dispatcher is woken by each change."""

    unhold = writes(hold_rules.end)
    hold_rules = reads(hold_rules.rules)
    set_draining = writes(recover.set_draining)
    nodes = reads(views.nodes)

    def __init__(self, context: SpoolContext) -> None:
        super().__init__(context)
        self._rate_limits = context.options.rate_limits

    async def stats(self) -> QueueStats:
        return await self._reader.do(
            partial(views.stats, rate_limits=self._rate_limits, engine=self._context.engine)
        )

    async def lanes(self, provider: str = "") -> Sequence[LaneState]:
        return await self._reader.do(partial(views.lanes, rate_limits=self._rate_limits, provider=provider))

    async def search(self, selection: Selection, mark: str = "") -> Found:
        lines: list[Summary] = []
        searched, left = 0, selection.limit
        while left > 0 and searched < MOST_SEARCHED:
            question = partial(
                views.found, selection=selection, rate_limits=self._rate_limits, mark=mark, limit=left
            )
            found, more = await self._reader.do(question)
            lines += found.deliveries
            searched, mark, left = searched + more, found.mark, selection.limit - len(lines)
            if not mark:
                break
        return Found(deliveries=lines, mark=mark, partial=bool(mark) and left > 0)

    async def show(self, message: str) -> Sequence[Detail]:
        return await self._reader.do(partial(views.details, message=message, rate_limits=self._rate_limits))

    async def content(self, message: str) -> StoredBody:
        return StoredBody(self._reader, *await self._reader.do(partial(views.message_of, text=message)))

    async def edit(
        self,
        selection: Selection | DueSelection,
        change: Edit,
        mark: str = "",
        prepare: Prepare | None = None,
    ) -> Edited:
        editing = BulkEdit(
            reader=self._reader, writer=self._writer, selection=selection, change=change, prepare=prepare
        )
        edited = await editing.step(mark)
        if edited.count and not change.dry_run:
            fields = {"who": change.who, "action": change.action, "why": change.why}
            self._events("queue.edited", **fields, ids=", ".join(edited.ids), count=edited.count)
            self._context.wake()
        return edited

    async def hold(self, rule: HoldRule) -> HoldRule:
        number = await self._writer.do(partial(hold_rules.make, rule=rule))
        self._events("hold_rule.added", rule=number, who=rule.who, why=rule.reason)
        return evolve(rule, id=number)

    async def apply_hold_rules(self) -> float | None:
        due = await self._writer.do(hold_rules.due)
        if due.rule is None:
            return due.when
        rule = due.rule
        if due.mark is not None:
            edited = await self.edit(*hold_rules.hold_change(rule), mark=due.mark)
            await self._writer.do(partial(hold_rules.proceed, number=rule.id, mark=edited.mark))
        else:
            edited = await self.edit(*hold_rules.release_change(rule, due.ended_by))
            if not edited.mark and await self._writer.do(partial(hold_rules.drop, number=rule.id)):
                self._events("hold_rule.removed", rule=rule.id, who=due.ended_by or "expired")
        return 0.0

    async def note_reachability(self, provider: str, trouble: Unreachable | None) -> bool:
        first_or_last = await self._writer.do(partial(note_reachability, provider=provider, trouble=trouble))
        if trouble is None:
            self._context.wake()
        return first_or_last
