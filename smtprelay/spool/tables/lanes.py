"""
The lanes, as one transaction sees them.

A lane is ``(provider, key)``; the key ``""`` is the provider's own lane, which also
counts the slots and the rate of all the provider's lanes together. ``due`` is never
later than the first delivery that waits in the lane; it may be earlier, when
something was taken out, and is put right by the claim that finds nothing.

``turn`` is when a claim looks at the lane next, and the order in which it does: of a lane that is ready it
is the time when it was served last, else the time when it will be ready. It follows from the rest, and is
computed when the lane is written. So a claim reads the lanes that it takes from, and no others.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field, fields, frozen

from smtprelay.model.outcome import stops_expiry
from smtprelay.model.queue import SUSPENDED
from smtprelay.model.route import RateLimit
from smtprelay.spool.tables.lane import Lane

if TYPE_CHECKING:
    from smtprelay.spool.engines.transaction import WritingConnection

#: The turn of a lane with something due that has no free slot: it comes when one is given back.
FULL: Final = SUSPENDED

#: Maximum number of lanes that are kept in memory from one transaction to the next.
_MOST_KEPT: Final = 1000


@frozen
class LaneSummary:
    """
    What waits in the lanes of a provider that are not blocked, and when those that are need something.

    :ivar first: the first turn; it has come if something is ready.
    :ivar next: the first turn that is still to come; may be :data:`FULL`.
    :ivar last: :data:`FULL` if something due waits for a slot of its lane.
    :ivar probe: when the first blocked lane is to be probed, but for the provider's own.
    :ivar left: when mail in such a lane may first go elsewhere.
    """

    first: float | None
    next: float | None
    last: float | None
    probe: float | None
    left: float | None


_NAMES: Final = [each.name for each in fields(Lane) if each.init]
_SELECT: Final = f"SELECT {', '.join(_NAMES)} FROM lane WHERE "  # noqa: S608 -- constants
#: In the words of the indexes.
_OPEN: Final = "provider = ? AND blocked_until IS NULL AND turn IS NOT NULL"
_BLOCKED: Final = "provider = ? AND blocked_until IS NOT NULL"
_ANSWERS: Final = ", ".join(
    f"(SELECT {what} FROM lane WHERE {where})"  # noqa: S608 -- constants
    for what, where in (
        ("min(turn)", _OPEN),
        ("min(turn)", f"{_OPEN} AND turn > ?"),
        ("max(turn)", _OPEN),
        ("min(blocked_until)", f"{_BLOCKED} AND key <> ''"),
        ("min(turn)", f"{_BLOCKED} AND turn IS NOT NULL"),
    )
)
_SUMMARY: Final = f"SELECT {_ANSWERS}"
_values: Final[Callable[[Lane], tuple[Any, ...]]] = attrgetter(*_NAMES[3:])


def _updating(names: Sequence[str]) -> str:
    return f"UPDATE lane SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?"  # noqa: S608


#: How many of the values change with nearly all mail. An index whose columns are written is written, too.
_USUAL: Final = _NAMES.index("due") - 3
_UPDATE_USUAL: Final = _updating(_NAMES[3 : 3 + _USUAL])
_UPDATE: Final = _updating(_NAMES[3:])


@define(eq=False)
class LaneTable:
    """
    The lanes that a transaction has touched, each read once and written once.

    Where nobody else writes they are kept from one transaction to the next: see :meth:`begin`. Where
    other nodes write, the own lane of a provider is locked before any of its lanes is looked at: who
    has that one has them all.

    :param lock: what a SELECT ends with to lock the row that it gives.
    :param rate_limits: how fast each configured provider may be asked, by its name.
    """

    _connection: "WritingConnection"
    _rate_limits: Mapping[str, RateLimit]
    _lock: str = ""
    _now: float = field(default=0.0, init=False)
    _by_id: dict[int, tuple[Lane, tuple[Any, ...]]] = field(factory=dict, init=False)
    _ids: dict[tuple[str, str], int] = field(factory=dict, init=False)
    _touched: set[int] = field(factory=set, init=False)

    @property
    def touched(self) -> list[Lane]:
        """The lanes that this transaction has asked for."""
        return [self._by_id[number][0] for number in self._touched]

    def begin(self, now: float) -> None:
        """Begin a transaction at ``now``; what is known of the lanes still holds."""
        self._now = now
        self._touched.clear()
        if len(self._by_id) > _MOST_KEPT:
            self.forget()

    def forget(self) -> None:
        """Clear the cache: the transaction was rolled back, or another node may have written."""
        self._by_id.clear()
        self._ids.clear()
        self._touched.clear()

    def take(self, providers: Iterable[str]) -> None:
        """
        Lock the own lanes of ``providers`` at once, in the order that everybody takes.

        So two nodes that need the same two providers do not each wait for the other. Who needs lanes and
        deliveries takes the lanes first, then deliveries, then messages.
        """
        if self._lock:
            self.keep(self.ask([each for each in providers if (each, "") not in self._ids]))

    def ask(self, providers: Sequence[str]) -> Any:
        """Do the first half of :meth:`take`; return the cursor for :meth:`keep`, which may come later."""
        if not providers:
            return None
        listed = ", ".join("?" * len(providers))
        return self._connection.execute(
            f"{_SELECT}key = '' AND provider IN ({listed}) ORDER BY id{self._lock}", providers
        )

    def keep(self, cursor: Any) -> None:
        """Note the lanes that :meth:`ask` has found; they are not touched by that."""
        for row in cursor.fetchall() if cursor is not None else ():
            self._keep(row)

    def get(self, provider: str, key: str) -> Lane:
        """Return a lane; a new one is made for a name that never was."""
        known = self._ids.get((provider, key))
        if known is not None:
            self._touched.add(known)
            return self._by_id[known][0]
        if key != "":
            self.get(provider, "")
        sql = f"{_SELECT}provider = ? AND key = ?{'' if key else self._lock}"
        row = self._connection.execute(sql, (provider, key)).fetchone()
        if row is None:
            # Another node may make it in the same moment.
            new = "INSERT INTO lane (provider, key) VALUES (?, ?) ON CONFLICT DO NOTHING"
            self._connection.execute(new, (provider, key))
            row = self._connection.execute(sql, (provider, key)).fetchone()
        return self._touch(row)

    def by_id(self, number: int) -> Lane:
        """Return the lane with this number."""
        if number in self._by_id:
            self._touched.add(number)
            return self._by_id[number][0]
        provider, key = self._connection.execute(
            "SELECT provider, key FROM lane WHERE id = ?", (number,)
        ).fetchone()
        return self.get(provider, key)

    def own(self, lane: Lane) -> Lane:
        """Return the own lane of the provider of ``lane``."""
        return lane if lane.key == "" else self.get(lane.provider, "")

    def blocked_time(self, lane: Lane) -> float:
        """
        Return for how long mail in ``lane`` has not grown older, in seconds.

        That is while its provider was blocked, and while the lane itself waited for an operator. A mailbox
        that is gone or a login that was revoked does not stop the clock: such mail expires.
        """
        whole = self.own(lane).blocked_time(self._now)
        return whole + lane.blocked_time(self._now) if lane.key and stops_expiry(lane.key) else whole

    def ready(self, provider: str, limit: int) -> list[Lane]:
        """Return lanes of ``provider`` whose turn has come, the longest unserved first."""
        return self._query(f"{_OPEN} AND turn <= ? ORDER BY turn, id LIMIT ?", (provider, self._now, limit))

    def summary(self, provider: str) -> LaneSummary:
        """Return what waits in the lanes of ``provider``; it costs the same for any number of them."""
        self.write()
        parameters = (provider, provider, self._now, provider, provider, provider)
        return LaneSummary(*self._connection.execute(_SUMMARY, parameters).fetchone())

    def has_due(self, lane: Lane) -> bool:
        """Tell whether something is due in ``lane`` or its provider's own, or may go in another one."""
        summary, own = self.summary(lane.provider), self.own(lane)
        dues = (lane.due, own.due, summary.first)
        return any(due is not None and due <= self._now for due in dues) or summary.last == FULL

    def to_probe(self, provider: str, limit: int) -> list[tuple[str, float]]:
        """Return the keys of the lanes of ``provider`` that are to be probed first, and when."""
        rows = self._connection.execute(
            f"SELECT key, blocked_until FROM lane WHERE {_BLOCKED} AND key <> ''"  # noqa: S608
            " ORDER BY blocked_until, id LIMIT ?",
            (provider, limit),
        ).fetchall()
        return [(key, until) for key, until in rows]

    def left(self, provider: str, limit: int) -> list[Lane]:
        """Return blocked lanes of ``provider`` in which mail is due that may go elsewhere."""
        return self._query(
            f"{_BLOCKED} AND turn IS NOT NULL AND turn <= ? ORDER BY turn, id LIMIT ?",
            (provider, self._now, limit),
        )

    def blocked(self, provider: str) -> list[Lane]:
        """Return the lanes of ``provider`` that are blocked."""
        return self._query(f"{_BLOCKED} ORDER BY id", (provider,))

    def all(self) -> list[Lane]:
        """Return every lane."""
        return self._query("1 = 1 ORDER BY id", ())

    def is_ready(self, lane: Lane) -> bool:
        """Tell whether the turn of ``lane`` has come, as it is now."""
        turn = self._turn(lane)
        return lane.blocked_until is None and turn is not None and turn <= self._now

    def recheck(self, provider: str) -> None:
        """Compute anew when the lanes of ``provider`` go on that wait for a rate or a slot: it has others."""
        for lane in (self.get(provider, ""), *self._query("provider = ? AND turn > due", (provider,))):
            lane.recheck(self._now)

    def recheck_in(self, lane: Lane) -> None:
        """Do so for one lane: it and its provider may have waited for mail that is leaving it."""
        for each in (self.own(lane), lane):
            each.recheck(self._now)

    def leave(self, opened: str) -> None:
        """Check again what is due in blocked lanes of other providers: it may go where a lane has opened."""
        which = "blocked_until IS NOT NULL AND key <> '' AND due IS NOT NULL AND provider <> ?"
        for lane in self._query(which, (opened,)):
            lane.leave()

    def drop(self, numbers: Iterable[int]) -> None:
        """Know nothing of these lanes any more: they are gone."""
        for number in self._by_id.keys() & set(numbers):
            lane, _ = self._by_id.pop(number)
            del self._ids[lane.place]
            self._touched.discard(number)

    def write(self) -> None:
        """Write the lanes that have changed."""
        for number in self._touched:
            lane, written = self._by_id[number]
            lane.turn = self._turn(lane)
            values = _values(lane)
            if values != written:
                usual = values[_USUAL:] == written[_USUAL:]
                shown = values[:_USUAL] if usual else values
                self._connection.run(_UPDATE_USUAL if usual else _UPDATE, (*shown, number))
                self._by_id[number] = (lane, values)

    def _turn(self, lane: Lane) -> float | None:
        """Return when a claim shall look at ``lane``; ``None`` is not before something changes."""
        if lane.blocked_until is not None:
            return lane.turn if lane.key else None
        if lane.due is None:
            return None
        rate_limit = self._rate_limits.get(lane.provider) if lane.key else None
        at = max(lane.due, lane.opens if rate_limit is None else lane.opens_at(rate_limit, self._now))
        if at > self._now:
            return at
        if rate_limit is not None and lane.free(rate_limit) < 1:
            return FULL
        return min(lane.served, self._now)

    def _query(self, where: str, parameters: Sequence[Any]) -> list[Lane]:
        self.write()
        return [self._touch(row) for row in self._connection.execute(_SELECT + where, parameters).fetchall()]

    def _touch(self, row: Sequence[Any]) -> Lane:
        self._touched.add(row[0])
        return self._keep(row)

    def _keep(self, row: Sequence[Any]) -> Lane:
        number = row[0]
        if number in self._by_id:
            return self._by_id[number][0]
        lane = Lane(*row)
        self._by_id[number] = (lane, _values(lane))
        self._ids[lane.provider, lane.key] = number
        return lane
