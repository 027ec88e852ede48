"""
Export and import on the spool's writer and its reader; see :class:`smtprelay.model.export_import.Archive`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from twisted.internet.defer import DeferredList

from smtprelay.interfaces import Events
from smtprelay.model.export_import import ArchiveItem, ArchivePage
from smtprelay.model.operator_settings import AppliedSettings, OperatorSettings
from smtprelay.model.queue import Selection
from smtprelay.spool.engines.reader import Reader, reads
from smtprelay.spool.engines.writer import Writer
from smtprelay.spool.operations import export, import_, operator_settings

#: Pieces of a message are dropped when after so many seconds neither another one nor the message has come.
PATIENCE: Final = 3600


class SpoolArchive:
    """
    See :class:`smtprelay.model.export_import.Archive`.

    :param wake: called when something has come in.
    """

    piece = reads(export.piece)
    orders = reads(operator_settings.orders)

    def __init__(self, writer: Writer, reader: Reader, events: Events, wake: Callable[[], object]) -> None:
        self._writer = writer
        self._reader = reader
        self._events = events
        self._wake = wake
        # How long ago the last piece of what is coming in has come.
        self._idle: dict[str, int] = {}

    async def export(
        self, selection: Selection, mark: str = "", *, moving: bool = False, who: str = ""
    ) -> ArchivePage:
        """Return the next messages of which a delivery matches, by id, each whole."""
        portion = await self._writer.do(partial(export.export, selection=selection, mark=mark, moving=moving))
        ids = [each.archived.id for each in portion.packed]
        if ids:
            self._events("queue.exported", who=who, count=len(ids), ids=", ".join(ids))
        return portion

    async def exported(
        self, messages: Sequence[str], who: str, attempts: Mapping[str, int] | None = None
    ) -> Sequence[str]:
        """Drop ``messages``, which are safe elsewhere; return those that are dropped."""
        gone = await self._writer.do(partial(export.drop, messages=messages, attempts=attempts))
        if gone:
            self._events("queue.moved", who=who, count=len(gone), ids=", ".join(gone))
        return gone

    async def apply_settings(self, given: OperatorSettings, who: str) -> AppliedSettings:
        """Put in force what comes from another spool; what is in force already stays as it is."""
        obeyed = await self._writer.do(partial(operator_settings.apply_settings, given=given))
        for rule in obeyed.holds:
            self._events("hold_rule.added", rule=rule.id, who=who, why=rule.reason)
        for each in obeyed.suspended:
            told = {"provider": each.provider, "lane": "", "action": "suspend", "who": who}
            self._events("lane.changed", **told, why=each.reason)
        self._wake()
        return obeyed

    async def put(self, packed: Sequence[ArchiveItem], who: str) -> Sequence[bool | Exception]:
        """Take messages in."""
        doing = [self._writer.do(partial(import_.put, packed=each)) for each in packed]
        results = await DeferredList(doing, consumeErrors=True)
        told = [result if done else getattr(result, "value", result) for done, result in results]
        for each, result in zip(packed, told, strict=True):
            if result is not True and each.archived.body and each.content is None:
                await self._writer.do(partial(import_.forget_pieces, message=each.archived.id))
            self._idle.pop(each.archived.id, None)
        taken = [each.archived.id for each, result in zip(packed, told, strict=True) if result is True]
        if taken:
            self._events("queue.imported", who=who, count=len(taken), ids=", ".join(taken))
            self._wake()
        return told

    async def put_piece(self, message: str, n: int, content: bytes) -> bool:
        """Take the n-th piece of a body in; ``False`` if there is such a message already."""
        self._idle[message] = 0
        return await self._writer.do(partial(import_.put_piece, message=message, n=n, content=content))

    def abandoned(self) -> list[str]:
        """Return the messages whose pieces nobody goes on with; to be called once a second."""
        for message in self._idle:
            self._idle[message] += 1
        gone = [message for message, seconds in self._idle.items() if seconds > PATIENCE]
        for message in gone:
            del self._idle[message]
        return gone
