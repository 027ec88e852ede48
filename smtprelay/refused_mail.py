"""
The ledger of refused mail, off the mail's way: it hears each refusal, and writes them down in batches.

What was heard since the last batch is in memory, and bounded; a relay without a spool has no more than that.
Reading writes nothing, so the ledger can be read while the spool takes nothing more.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import evolve
from twisted.internet.defer import DeferredLock

from smtprelay.model.network import counted_as
from smtprelay.model.refusal import MOST_ROWS, Key, RefusalFilter, RefusalRow
from smtprelay.operating import RefusedMail

#: The events that tell of a refusal.
HEARD: Final = frozenset({"smtp.refused", "auth.failed"})

#: How often a batch is written, seconds.
FLUSH_EVERY: Final = 5.0


class Ledger:
    """
    An :class:`smtprelay.interfaces.Events` that keeps what clients were refused.

    :param seconds: gives the time, since the epoch.
    :ivar store: where it is written down; ``None``: nowhere.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.store: RefusedMail | None = None
        self._seconds = seconds
        self._rows: OrderedDict[Key, RefusalRow] = OrderedDict()
        # So that a row is either in memory or in the spool for whoever reads.
        self._lock = DeferredLock()

    def __call__(self, event: str, /, **fields: object) -> None:
        """Hear one event."""
        if event in HEARD:
            self._hear(fields)

    def ear(self, event: str) -> Callable[[Mapping[str, Any]], None] | None:
        """Return what hears events of this kind, or ``None``; see :class:`smtprelay.log.Telling`."""
        return self._hear if event in HEARD else None

    def _hear(self, fields: Mapping[str, Any]) -> None:
        now = self._seconds()
        self._add(
            RefusalRow(
                listener=fields["listener"],
                client=counted_as(fields["client"]),
                user=fields["user"],
                rule=fields["rule"],
                reply=fields["status"],
                domain=fields["domain"],
                count=fields["count"],
                first=now,
                last=now,
                command=fields["command"],
                text=fields["text"],
            )
        )

    def _add(self, row: RefusalRow) -> None:
        known = self._rows.pop(row.key, None)
        self._rows[row.key] = row if known is None else known.plus(row)
        if len(self._rows) > MOST_ROWS:
            self._rows.popitem(last=False)

    async def flush(self) -> None:
        """Write down what was heard; what cannot be written stays for the next time, and raises."""
        async with self._lock:
            if self.store is None or not self._rows:
                return
            rows, self._rows = self._rows, OrderedDict()
            try:
                await self.store.record(list(rows.values()))
            except Exception:
                newer, self._rows = self._rows, rows
                for row in newer.values():
                    self._add(row)
                raise

    async def refused(self, wanted: RefusalFilter) -> Sequence[RefusalRow]:
        """Return the rows that are meant, the last first, with what was heard just now."""
        if self.store is None:
            return wanted.of(self._rows.values())
        async with self._lock:
            # A row that is old in the spool may have been heard just now.
            stored = await self.store.refused(evolve(wanted, since=None, limit=MOST_ROWS))
        rows = {row.key: row for row in stored}
        for key, row in self._rows.items():
            rows[key] = rows[key].plus(row) if key in rows else row
        return wanted.of(rows.values())

    async def clear(self, wanted: RefusalFilter) -> int:
        """Forget the rows that are meant; return how many."""
        if self.store is not None:
            await self.flush()
            return await self.store.clear(wanted)
        found = [key for key, row in self._rows.items() if wanted.matches(row)]
        for key in found:
            del self._rows[key]
        return len(found)
