"""
Finds what is due in a lane that does not run, a page at a time.

It is gone through lane by lane in the order in which the mail became due, so that what was looked at before
is never looked at again.
"""

from collections.abc import Sequence
from typing import Any, Final

from attrs import frozen

from smtprelay.model.queue import DueSelection
from smtprelay.spool.engines.transaction import Connection
from smtprelay.spool.query.search import Page
from smtprelay.spool.tables.deliveries import marks

_PAGE: Final = (
    "SELECT d.message, d.n, d.state, d.attempt, d.uncertain, d.due FROM delivery d"
    " WHERE d.lane = ? AND d.due <= ? AND (d.due, d.message, d.n) > (?, ?, ?)"
    " AND d.route IN ({routes}) AND (d.uncertain = 0 OR d.route IN ({lost}))"
    " ORDER BY d.due, d.message, d.n LIMIT ?"
)


@frozen
class DueSearch:
    """What :class:`~smtprelay.spool.query.search.Search` is for filters, for a :class:`DueSelection`."""

    selection: DueSelection

    def page(self, connection: Connection, mark: str, limit: int) -> Page:
        """Return the page that begins at ``mark``, or the first one, with up to ``limit`` rows."""
        lane, due, message, n = mark.split("/") if mark else ("0", repr(self.selection.since), "", "0")
        start = (float(due), message, int(n))
        rows: list[Sequence[Any]] = []
        for number in self._lanes(connection, int(lane)):
            place = start if number == int(lane) else (self.selection.since, "", 0)
            rows += self._rows(connection, number, place, limit - len(rows))
            if len(rows) >= limit:
                message, n, *_, due = rows[-1]
                return Page(rows=rows, looked=limit, mark=f"{number}/{due!r}/{message}/{n}")
        return Page(rows=rows, looked=len(rows), mark="")

    def _lanes(self, connection: Connection, begin: int) -> list[int]:
        which, key = ("", ()) if self.selection.lane == "" else (" AND key = ?", (self.selection.lane,))
        sql = f"SELECT id FROM lane WHERE provider = ? AND due <= ? AND id >= ?{which} ORDER BY id"  # noqa: S608
        values = (self.selection.provider, self.selection.until, begin, *key)
        return [row[0] for row in connection.execute(sql, values).fetchall()]

    def _rows(
        self, connection: Connection, lane: int, place: Sequence[Any], limit: int
    ) -> list[Sequence[Any]]:
        wanted = self.selection
        sql = _PAGE.format(routes=marks(wanted.routes), lost=marks(wanted.lost))
        values = (lane, wanted.until, *place, *wanted.routes, *wanted.lost, limit)
        return connection.execute(sql, values).fetchall()
