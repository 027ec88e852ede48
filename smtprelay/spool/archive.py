"""
Export and import, on the spool's writer and its reader.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from twisted.internet.defer import DeferredList

from smtprelay.model.archive import ArchiveItem, ArchivePage
from smtprelay.model.operator_settings import AppliedSettings, OperatorSettings
from smtprelay.model.queue import Selection
from smtprelay.spool.operations import accept, export, import_, operator_settings
from smtprelay.spool.part import SpoolContext, SpoolPart, reads

#: Seconds after which the pieces of a message are dropped if neither another piece nor the message arrived.
PATIENCE: Final = 3600


class SpoolArchive(SpoolPart):
    """Implements :class:`smtprelay.interfaces.spool.Archive`; tells the log what has left and come."""

    piece = reads(accept.piece)
    settings = reads(operator_settings.settings)

    def __init__(self, context: SpoolContext) -> None:
        super().__init__(context)
        # By its id how many seconds ago the last piece of a message has come.
        self._idle: dict[str, int] = {}

    async def export(
        self, selection: Selection, mark: str = "", *, moving: bool = False, who: str = ""
    ) -> ArchivePage:
        page = await self._writer.do(partial(export.export, selection=selection, mark=mark, moving=moving))
        self._tell("queue.exported", [each.archived.id for each in page.items], who=who)
        return page

    async def exported(
        self, messages: Sequence[str], who: str, attempts: Mapping[str, int] | None = None
    ) -> Sequence[str]:
        gone = await self._writer.do(partial(export.drop, messages=messages, attempts=attempts))
        self._tell("queue.moved", gone, who=who)
        return gone

    async def apply_settings(self, given: OperatorSettings, who: str) -> AppliedSettings:
        applied = await self._writer.do(partial(operator_settings.apply_settings, given=given))
        for rule in applied.holds:
            self._events("hold_rule.added", rule=rule.id, who=who, why=rule.reason)
        for each in applied.suspended:
            fields = {"provider": each.provider, "lane": "", "action": "suspend", "who": who}
            self._events("lane.changed", **fields, why=each.reason)
        self._context.wake()
        return applied

    async def put(self, items: Sequence[ArchiveItem], who: str) -> Sequence[bool | Exception]:
        doing = [self._writer.do(partial(import_.put, item=each)) for each in items]
        results = await DeferredList(doing, consumeErrors=True)
        outcomes = [result if done else getattr(result, "value", result) for done, result in results]
        taken = []
        for each, result in zip(items, outcomes, strict=True):
            message = each.archived.id
            self._idle.pop(message, None)
            if result is True:
                taken.append(message)
            elif each.archived.body and each.content is None:
                await self._writer.do(partial(import_.forget_pieces, message=message))
        self._tell("queue.imported", taken, who=who)
        if taken:
            self._context.wake()
        return outcomes

    async def put_piece(self, message: str, n: int, content: bytes) -> bool:
        self._idle[message] = 0
        return await self._writer.do(partial(import_.put_piece, message=message, n=n, content=content))

    def abandoned(self) -> list[str]:
        """Return the messages whose upload was abandoned; to be called once a second."""
        for message in self._idle:
            self._idle[message] += 1
        gone = [message for message, seconds in self._idle.items() if seconds > PATIENCE]
        for message in gone:
            del self._idle[message]
        return gone

    def _tell(self, event: str, messages: Sequence[str], **fields: object) -> None:
        if messages:
            self._events(event, count=len(messages), ids=", ".join(messages), **fields)
