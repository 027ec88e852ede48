"""
Finding deliveries, a page at a time.

A page is a stretch of an index: so many rows are looked at, and the filters are asked of these alone. So no
search and no change in bulk holds up the mail, however many there are and however few match. There are three
ways through the spool for a :class:`Search`:

- ``id``: what is alive, what failed and what was deleted, in the order of the ids, which is that of time;
- ``end``: messages that are finished, the last first. What was delivered has no index of its own;
- ``rest``: parts that are finished of messages of which others are not.

A mark names the way and the place on it: everything up to there was looked at. A :class:`DueSearch` goes lane
by lane in the order in which the mail became due.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final

from attrs import evolve, field, frozen

from smtprelay.model.message_id import canonical, last_with, new_id
from smtprelay.model.queue import FINAL, STATES, DueSelection, Selection
from smtprelay.spool.engines.transaction import Connection
from smtprelay.spool.query.conditions import clauses
from smtprelay.spool.tables.deliveries import LANES, marks

ALIVE: Final = tuple(state for state in STATES if state not in FINAL)

#: A page looks at so many rows of each state, and at so many ids that were asked for.
LARGEST_PAGE: Final = 1000
_IDS: Final = 200

#: An id is made a moment before the message is received, or after; clocks may differ a little, too. Seconds.
_SLACK: Final = 60.0

_JOINED: Final = f" JOIN message m ON m.id = d.message{LANES}"

#: Of a message with several parts that wait only the first one leads to those that are finished.
_REST: Final = (
    "delivery a JOIN delivery d ON d.message = a.message AND d.ended IS NOT NULL AND a.n ="
    " (SELECT min(x.n) FROM delivery x WHERE x.message = a.message AND x.ended IS NULL)"
)


@frozen
class _Index:
    """What is gone through by id: of ``tables`` the deliveries ``table`` in ``states``, where ``more``."""

    states: Sequence[str]
    table: str
    tables: str
    more: str = ""


#: Goes on from a place; gives up to so many rows.
PageQuery = Callable[[Connection, str, int], "Page"]


@frozen(kw_only=True)
class Page:
    """
    What matches on one page, in order.

    :ivar searched: how many rows were looked at; on the last page it may be fewer.
    :ivar mark: where the next page begins; ``""`` after the last.
    """

    rows: Sequence[Sequence[Any]]
    searched: int
    mark: str


@frozen(kw_only=True)
class Search:
    """
    What is looked for, and in what order.

    :ivar columns: of ``d``, ``m``, ``l`` and ``o``, the provider's own lane; they begin with those of the id.
    :ivar states: a bound on the states, whatever the selection says.
    :ivar top: nothing with a higher message id, if it is given.
    """

    selection: Selection
    columns: str
    states: Sequence[str] = STATES
    top: str = ""
    newest: bool = field(init=False)
    wanted: Sequence[str] = field(init=False)

    @wanted.default
    def _wanted(self) -> Sequence[str]:
        wanted = self.selection.states or (STATES if self.selection.ids else ALIVE)
        return [state for state in STATES if state in wanted and state in self.states]

    @newest.default
    def _newest(self) -> bool:
        return self.selection.newest or any(state in FINAL for state in self.selection.states)

    def page(self, connection: Connection, mark: str, limit: int) -> Page:
        """
        Return the page that begins at ``mark``, or the first one, with up to ``limit`` rows.

        There may be a few more if the selection names ids.

        :raises LookupError: an id of the selection names no message, or several.
        :raises ValueError: the mark is none of ours.
        """
        targets = self._targets()
        way, _, place = mark.partition("/")
        if way not in targets:
            if mark:
                raise ValueError(f"{mark!r} is not a page mark")
            way = next(iter(targets), "")
        if not way:
            return Page(rows=(), searched=0, mark="")
        try:
            page = targets[way](connection, place, limit)
        except ValueError as error:
            if not mark:
                raise
            raise ValueError(f"{mark!r} is not a page mark") from error
        names = [*targets, ""]
        following = names[names.index(way) + 1]
        mark = f"{way}/{page.mark}" if page.mark else following and f"{following}/"
        return evolve(page, mark=mark)

    def _targets(self) -> dict[str, PageQuery]:
        if not self.wanted:
            return {}
        if self.selection.ids:
            return {"ids": self._by_ids}
        targets: dict[str, PageQuery] = {}
        if self._in_order_of_ids():
            targets["id"] = self._by_id
        if "delivered" in self.wanted:
            targets |= {"end": self._by_end, "rest": self._by_rest}
        return targets

    def _in_order_of_ids(self) -> list[str]:
        """Return the states that have an index by id; what is finished beside them is found by its end."""
        by_end = FINAL if "delivered" in self.wanted else ("delivered",)
        return [state for state in self.wanted if state not in by_end]

    def _ended(self) -> str:
        return ", ".join(f"'{state}'" for state in self.wanted if state in FINAL)

    # --- the ways

    def _by_ids(self, connection: Connection, place: str, _limit: int) -> Page:
        start = _number(place)
        chosen = self.selection.ids[start : start + _IDS]
        rows: list[Sequence[Any]] = []
        states = ", ".join(f"'{state}'" for state in self.wanted)
        for text in chosen:
            condition, parameters = identified(connection, text)
            where = f"{condition} AND d.state IN ({states})"
            rows += self._rows(connection, f"delivery d{_JOINED}", self.columns, where, parameters)
        unique = {_id(row): row for row in rows}.values()
        mark = f"{start + _IDS}" if start + _IDS < len(self.selection.ids) else ""
        return Page(rows=sorted(unique, key=_id), searched=len(chosen), mark=mark)

    def _by_id(self, connection: Connection, place: str, limit: int) -> Page:
        index = _Index(self._in_order_of_ids(), "d", f"delivery d{_JOINED}")
        return self._stretch(connection, place, limit, index)

    def _by_rest(self, connection: Connection, place: str, limit: int) -> Page:
        index = _Index(ALIVE, "a", f"{_REST}{_JOINED}", f" AND d.state IN ({self._ended()})")
        return self._stretch(connection, place, limit, index)

    def _stretch(self, connection: Connection, place: str, limit: int, index: "_Index") -> Page:
        """Look at the next rows of each state in the order of the ids, all up to the same id."""
        low, high = self._bounds()
        size = self._size(limit)
        first, _, number = place.partition("/")
        message, aim = (high, low) if self.newest else (low, high)
        sign, back, order = ("<", ">", " DESC") if self.newest else (">", "<", "")
        # A mark without a part says that all parts of its message were seen.
        begin = sign if first and not number else f"{sign}="
        message = first or message
        span = f"{index.table}.message {begin} ? AND {index.table}.message {back}= ?"
        ends = []
        for state in index.states:
            of_state = _of_state(state, index.table, self.selection.hold)
            sql = (
                f"SELECT {index.table}.message FROM delivery {index.table}"  # noqa: S608 -- constants
                f" WHERE {of_state} AND {span} ORDER BY {index.table}.message{order} LIMIT 1 OFFSET ?"
            )
            end = connection.execute(sql, (message, aim, size - 1)).fetchone()
            ends += [] if end is None else [end[0]]
        end = (max if self.newest else min)(ends, default=None)
        rows: list[Sequence[Any]] = []
        for state in index.states:
            where = f"{_of_state(state, index.table, self.selection.hold)} AND {span}{index.more}"
            values: list[Any] = [message, aim if end is None else end]
            if number:
                where += f" AND (d.message, d.n) {sign} (?, ?)"
                values += [message, _number(number)]
            rows += self._rows(connection, index.tables, self.columns, where, values)
        rows.sort(key=_id, reverse=self.newest)
        mark = end or ""
        if len(rows) > limit:
            mark = f"{rows[limit - 1][0]}/{rows[limit - 1][1]}"
        return Page(rows=rows[:limit], searched=size * max(1, len(ends)), mark=mark)

    def _by_end(self, connection: Connection, place: str, limit: int) -> Page:
        size = self._size(limit)
        given, message, number = [*place.split("/"), "", ""][:3]
        begin = (float(given), message, _number(number)) if given else (_NEVER, last_with(""), 2**31 - 1)
        # What ended at the time of a mark was seen with it, unless the mark names a part.
        sign = "<=" if message or not given else "<"
        since = self.selection.since or 0.0
        end = connection.execute(
            f"SELECT finished FROM message WHERE finished {sign} ? AND finished >= ?"  # noqa: S608
            " ORDER BY finished DESC LIMIT 1 OFFSET ?",
            (begin[0], since, size - 1),
        ).fetchone()
        where = (
            f"m.finished {sign} ? AND m.finished >= ? AND (m.finished, d.message, d.n) < (?, ?, ?)"
            f" AND d.state IN ({self._ended()})"
        )
        rows = self._rows(
            connection,
            f"message m CROSS JOIN delivery d{LANES}",
            f"{self.columns}, m.finished",
            f"d.message = m.id AND {where}",
            [begin[0], since if end is None else end[0], *begin],
        )
        rows.sort(key=lambda row: (row[-1], row[0], row[1]), reverse=True)
        mark = "" if end is None else f"{end[0]!r}"
        if len(rows) > limit:
            last = rows[limit - 1]
            mark = f"{last[-1]!r}/{last[0]}/{last[1]}"
        return Page(rows=[row[:-1] for row in rows[:limit]], searched=size, mark=mark)

    def _size(self, limit: int) -> int:
        """Return how many rows to look at: without a filter all that are looked at match."""
        return LARGEST_PAGE if any(clauses(self.selection)) else min(limit, LARGEST_PAGE)

    def _rows(
        self, connection: Connection, tables: str, columns: str, where: str, parameters: Sequence[Any]
    ) -> list[Sequence[Any]]:
        filters = list(clauses(self.selection))
        conditions = " AND ".join([where, *(condition for condition, _ in filters)])
        values = [value for _, given in filters for value in given]
        sql = f"SELECT {columns} FROM {tables} WHERE {conditions}"  # noqa: S608 -- constants
        return list(connection.execute(sql, [*parameters, *values]).fetchall())

    def _bounds(self) -> tuple[str, str]:
        """Return the lowest and the highest message id that can match."""
        since, until = self.selection.since, self.selection.until
        low = "" if since is None else new_id(max(0.0, since - _SLACK), lambda _: 0)
        high = last_with("") if until is None else last_with(new_id(until + _SLACK, lambda _: 0)[:9])
        return low, min(high, self.top) if self.top else high


_DUE: Final = (
    "SELECT d.message, d.n, d.state, d.attempt, d.uncertain, d.due FROM delivery d"
    " WHERE d.lane = ? AND d.due <= ? AND (d.due, d.message, d.n) > (?, ?, ?)"
    " AND d.route IN ({routes}) AND (d.uncertain = 0 OR d.route IN ({lost}))"
    " ORDER BY d.due, d.message, d.n LIMIT ?"
)


@frozen
class DueSearch:
    """What :class:`Search` is for filters, for a :class:`DueSelection`."""

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
                return Page(rows=rows, searched=limit, mark=f"{number}/{due!r}/{message}/{n}")
        return Page(rows=rows, searched=len(rows), mark="")

    def _lanes(self, connection: Connection, begin: int) -> list[int]:
        which, key = ("", ()) if self.selection.lane == "" else (" AND key = ?", (self.selection.lane,))
        sql = f"SELECT id FROM lane WHERE provider = ? AND due <= ? AND id >= ?{which} ORDER BY id"  # noqa: S608
        values = (self.selection.provider, self.selection.until, begin, *key)
        return [row[0] for row in connection.execute(sql, values).fetchall()]

    def _rows(
        self, connection: Connection, lane: int, place: Sequence[Any], limit: int
    ) -> list[Sequence[Any]]:
        wanted = self.selection
        sql = _DUE.format(routes=marks(wanted.routes), lost=marks(wanted.lost))
        values = (lane, wanted.until, *place, *wanted.routes, *wanted.lost, limit)
        return connection.execute(sql, values).fetchall()


def matching(
    connection: Connection, selection: Selection, state: str, *, after: str = ""
) -> list[Sequence[Any]]:
    """
    Return the messages after ``after`` of deliveries in ``state`` that match, up to the selection's limit.

    :raises LookupError: an id of the selection names no message, or several.
    """
    conditions = [(_of_state(state, "d", selection.hold), []), ("d.message > ?", [after])]
    if selection.ids:
        named = [identified(connection, each) for each in selection.ids]
        either = " OR ".join(f"({condition})" for condition, _ in named)
        conditions.append((f"({either})", [each for _, values in named for each in values]))
    conditions += clauses(selection)
    where = " AND ".join(condition for condition, _ in conditions)
    sql = f"SELECT d.message FROM delivery d{_JOINED} WHERE {where} ORDER BY d.message LIMIT ?"  # noqa: S608
    values = [each for _, values in conditions for each in values]
    return list(connection.execute(sql, [*values, selection.limit]).fetchall())


#: Later than anything ends.
_NEVER: Final = 9e15

#: The id of a row.
_id: Final = itemgetter(0, 1)


def _of_state(state: str, table: str, hold: int) -> str:
    """Spelled out, because only then a partial index is known to hold it."""
    if hold:
        return f"{table}.hold = {int(hold)} AND {table}.hold <> 0 AND {table}.state = '{state}'"
    return f"{table}.state = '{state}'" + ("" if state in FINAL else f" AND {table}.ended IS NULL")


def _number(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and len(text) <= len(str(2**31))):
        raise ValueError(f"{text!r} is no number of a mark")
    return int(text or "0")


def identified(connection: Connection, text: str) -> tuple[str, list[Any]]:
    """
    Return the clause for an id as a person gives it: the beginning of a message's, perhaps with ``.n``.

    :raises LookupError: it names no message, or several.
    """
    start, _, n = text.strip().partition(".")
    start = canonical(start)
    found = connection.execute(
        "SELECT id FROM message WHERE id >= ? AND id <= ? ORDER BY id LIMIT 2", (start, last_with(start))
    ).fetchall()
    if not found or not start or (n and not (n.isascii() and n.isdigit() and len(n) < len(str(2**31)))):
        raise LookupError(f"there is no message {text!r}: the id is wrong, or its history was pruned")
    if len(found) > 1:
        raise LookupError(f"several messages begin with {text!r}: {found[0][0]}, {found[1][0]}, …")
    if n:
        return "d.message = ? AND d.n = ?", [found[0][0], int(n)]
    return "d.message = ?", [found[0][0]]
