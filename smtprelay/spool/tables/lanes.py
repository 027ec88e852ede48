"""
The lanes, as one transaction sees them.

A lane is ``(provider, key)``; the key ``""`` is the provider's own lane, which also
counts the slots and the pace of all the provider's lanes together. ``due`` is never
later than the first delivery that waits in the lane; it may be earlier, when
something was taken out, and is put right by the claim that finds nothing.
"""

import json
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

from attrs import define, fields

from smtprelay.model.rate_limit import Spent, nothing_spent
from smtprelay.model.route import RateLimit

#: No bound.
ANY_NUMBER: Final = 2**31 - 1

#: So many lanes are kept in memory from one transaction to the next at most.
_MOST_KEPT: Final = 1000

#: Takes SQL and parameters, gives a cursor.
Execute = Callable[[str, Sequence[Any]], Any]


@define
class Lane:
    """One row of the table ``lane``; :class:`LaneTable` writes it back."""

    id: int
    provider: str
    key: str
    queued: int
    deferred: int
    active: int
    slots: int
    due: float | None
    served: float
    blocked_until: float | None
    blocked_reason: str
    blocked_since: float | None
    blocked_total: float
    trial: int
    spent: str
    held: int
    ceiling: float | None
    cut: float
    pause: float
    opens: float
    resumes: float | None

    @property
    def place(self) -> tuple[str, str]:
        """What names it."""
        return self.provider, self.key

    def wait(self, state: str, due: float, count: int = 1) -> None:
        """Note that ``count`` deliveries begin to wait in ``state``, the first of them until ``due``."""
        setattr(self, state, getattr(self, state) + count)
        if self.due is None or due < self.due:
            self.due = due

    def blocked_time(self, now: float) -> float:
        """Return for how long this lane has been blocked since it exists, in seconds."""
        return self.blocked_total + (
            0.0 if self.blocked_since is None else max(0.0, now - self.blocked_since)
        )

    def block(self, until: float, reason: str, now: float) -> None:
        """Stop the lane. A lane that is blocked already keeps its beginning."""
        self.blocked_until, self.blocked_reason, self.resumes = until, reason, None
        if self.blocked_since is None:
            self.blocked_since = now

    def open(self, now: float, *, trial: bool) -> None:
        """Let the lane run again."""
        self.blocked_total = self.blocked_time(now)
        self.blocked_until, self.blocked_since, self.blocked_reason, self.resumes = None, None, "", None
        self.trial = int(trial)

    def resume_in_time(self, now: float) -> None:
        """Open the lane if it was suspended for a time that is over."""
        if self.resumes is not None and self.resumes <= now:
            self.open(now, trial=False)

    def goes(self, now: float) -> bool:
        """Tell whether something is due, and may go when there is a slot."""
        return self.due is not None and self.due <= now and self.blocked_until is None

    def room(self, bound: int) -> int:
        """Return how many slots are free under ``bound`` and the ceiling; one at most while on trial."""
        if self.ceiling is not None:
            bound = min(bound, max(1, int(self.ceiling)))
        return max(0, (1 if self.trial else bound) - self.slots)

    def counts(self, pace: RateLimit) -> list[Spent]:
        """Return what the pace has counted; nothing if its windows are not the ones that were counted."""
        if not self.spent:
            return list(nothing_spent(pace.windows))
        kept = json.loads(self.spent)
        if [entry[:2] for entry in kept] != [[window.count, window.seconds] for window in pace.windows]:
            return list(nothing_spent(pace.windows))
        return [{int(part): count for part, count in entry[2].items()} for entry in kept]

    def count(self, pace: RateLimit, counts: Sequence[Spent]) -> None:
        """Keep what the pace has counted."""
        entries = zip(pace.windows, counts, strict=True)
        self.spent = json.dumps([[window.count, window.seconds, dict(seen)] for window, seen in entries])


_NAMES: Final = [each.name for each in fields(Lane)]
_SELECT: Final = f"SELECT {', '.join(_NAMES)} FROM lane WHERE "  # noqa: S608 -- constants
_OPEN_AND_DUE: Final = "provider = ? AND due <= ? AND blocked_until IS NULL AND opens <= ?"
#: The second half is about the few lanes that are throttled.
_OPEN: Final = " AND blocked_until IS NULL"
_NEXT_DUE: Final = f"""
    SELECT min(due) FROM (
        SELECT min(due) AS due FROM lane WHERE provider = ? AND due > ?{_OPEN}
        UNION ALL SELECT min(opens) FROM lane
            WHERE provider = ? AND ceiling IS NOT NULL AND opens > ? AND due <= ?{_OPEN}
    ) AS next"""  # noqa: S608 -- constants
_values: Final[Callable[[Lane], tuple[Any, ...]]] = attrgetter(*_NAMES[3:])
_UPDATE: Final = f"UPDATE lane SET {', '.join(f'{name} = ?' for name in _NAMES[3:])} WHERE id = ?"  # noqa: S608


class LaneTable:
    """
    The lanes that a transaction has touched, each read once and written once.

    Where nobody else writes they are kept from one transaction to the next: see :meth:`begin`. Where
    other nodes write, the own lane of a provider is locked before any of its lanes is looked at: who
    has that one has them all.

    :param lock: what a SELECT ends with to lock the row that it gives.
    :param run: runs a statement that gives nothing back.
    """

    def __init__(self, execute: Execute, lock: str = "", run: Execute | None = None) -> None:
        self._execute = execute
        self._run = run or execute
        self._lock = lock
        self._now = 0.0
        self._by_id: dict[int, tuple[Lane, tuple[Any, ...]]] = {}
        self._ids: dict[tuple[str, str], int] = {}
        self._touched: set[int] = set()

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
        """Know nothing any more: the transaction was rolled back, or somebody else may have written."""
        self._by_id.clear()
        self._ids.clear()
        self._touched.clear()

    def take(self, providers: Sequence[str]) -> None:
        """
        Lock the own lanes of ``providers`` at once, in the order that everybody takes.

        So two nodes that need the same two providers do not each wait for the other.
        """
        if self._lock:
            self.write()
            self.keep(self.ask(providers))

    def ask(self, providers: Sequence[str]) -> Any:
        """Do the first half of :meth:`take`; return the cursor for :meth:`keep`, which may come later."""
        if not providers:
            return None
        listed = ", ".join("?" * len(providers))
        return self._execute(
            f"{_SELECT}key = '' AND provider IN ({listed}) ORDER BY id{self._lock}", providers
        )

    def keep(self, asked: Any) -> None:
        """Note the lanes that :meth:`ask` has found; they are not touched by that."""
        for row in asked.fetchall() if asked is not None else ():
            self._keep(row)

    def get(self, provider: str, key: str) -> Lane:
        """Return a lane; a new one is made for a name that never was."""
        known = self._ids.get((provider, key))
        if known is not None:
            self._touched.add(known)
            return self._by_id[known][0]
        if key != "":
            self.get(provider, "")
        return self._read(provider, key) or self._made(provider, key)

    def by_id(self, number: int) -> Lane:
        """Return the lane with this number."""
        if number in self._by_id:
            self._touched.add(number)
            return self._by_id[number][0]
        provider, key = self._execute("SELECT provider, key FROM lane WHERE id = ?", (number,)).fetchone()
        return self.get(provider, key)

    def own(self, lane: Lane) -> Lane:
        """Return the own lane of the provider of ``lane``."""
        return lane if lane.key == "" else self.get(lane.provider, "")

    def blocked_time(self, lane: Lane) -> float:
        """
        Return for how long what waits in ``lane`` could not go, in seconds.

        It or its whole provider was blocked; when both were it counts twice, in favour of the mail.
        """
        own = self.own(lane)
        time = lane.blocked_time(self._now)
        return time if own is lane else time + own.blocked_time(self._now)

    def ready(self, provider: str, per_lane: int, limit: int) -> list[Lane]:
        """Return lanes of ``provider`` that may be due and have a free slot, the longest unserved first."""
        return self._query(
            f"{_OPEN_AND_DUE} AND (key = '' OR slots < CASE WHEN trial = 1 THEN 1 ELSE ? END)"
            " AND (key = '' OR ceiling IS NULL OR slots = 0 OR slots + 1 <= ceiling)"
            " ORDER BY served, id LIMIT ?",
            (provider, self._now, self._now, per_lane, limit),
        )

    def is_due(self, provider: str, *, blocked: bool = False) -> bool:
        """Tell whether something is due in a lane of ``provider``, ``blocked`` or not."""
        self.write()
        where = "provider = ? AND due <= ?" if blocked else _OPEN_AND_DUE
        sql = f"SELECT 1 FROM lane WHERE {where} LIMIT 1"  # noqa: S608 -- constants
        parameters = (provider, *[self._now] * (where.count("?") - 1))
        return self._execute(sql, parameters).fetchone() is not None

    def blocked(self, provider: str) -> list[Lane]:
        """Return the lanes of ``provider`` that are blocked."""
        return self._query("provider = ? AND blocked_until IS NOT NULL ORDER BY id", (provider,))

    def all(self) -> list[Lane]:
        """Return every lane."""
        return self._query("1 = 1 ORDER BY id", ())

    def next_due(self, provider: str, *, blocked: bool = False) -> float | None:
        """
        Return when something of ``provider`` becomes due, or a lane with something due opens.

        :param blocked: whether what is in blocked lanes counts, too.
        """
        self.write()
        sql = _NEXT_DUE.replace(_OPEN, "") if blocked else _NEXT_DUE
        parameters = (provider, self._now, provider, self._now, self._now)
        due: float | None = self._execute(sql, parameters).fetchone()[0]
        return due

    def write(self) -> None:
        """Write the lanes that have changed."""
        for number in self._touched:
            lane, written = self._by_id[number]
            values = _values(lane)
            if values != written:
                self._run(_UPDATE, (*values, number))
                self._by_id[number] = (lane, values)

    def _query(self, where: str, parameters: Sequence[Any]) -> list[Lane]:
        self.write()
        return [self._touch(row) for row in self._execute(_SELECT + where, parameters).fetchall()]

    def _read(self, provider: str, key: str) -> Lane | None:
        lock = self._lock if key == "" else ""
        sql = f"{_SELECT}provider = ? AND key = ?{lock}"
        row = self._execute(sql, (provider, key)).fetchone()
        return None if row is None else self._touch(row)

    def _made(self, provider: str, key: str) -> Lane:
        # Another node may make it in the same moment.
        self._execute(
            "INSERT INTO lane (provider, key) VALUES (?, ?) ON CONFLICT DO NOTHING", (provider, key)
        )
        lane = self._read(provider, key)
        assert lane is not None
        return lane

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
