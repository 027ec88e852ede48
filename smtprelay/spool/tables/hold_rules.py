"""
Rules that hold mail: what comes in while a rule is in force is held as it is accepted.

They are few, in a table that all nodes share. A transaction that accepts mail reads them once, however many
messages it has. What waited when a rule was made, and what a rule held that has ended, is
seen to in steps (:meth:`smtprelay.interfaces.spool.QueueAdmin.apply_hold_rules`).
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field, frozen

from smtprelay.model.message import Planned
from smtprelay.model.queue import NOBODY, Edit, Selection
from smtprelay.model.queue_admin import LONGEST, HoldRule

if TYPE_CHECKING:
    from smtprelay.spool.engines.transaction import Connection, Transaction

_COLUMNS: Final = ("id", "sender", "recipient", "provider", "route", "reason", "who", "made", "until")
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)}"


@define(eq=False)
class HoldRules:
    """
    The rules that are in force in one transaction.

    With one node they are kept from one transaction to the next.
    """

    _connection: "Connection"
    _rules: Sequence[HoldRule] | None = field(default=None, init=False)

    def forget(self) -> None:
        """Clear the cache: a rule was made, or has changed."""
        self._rules = None

    def match(self, sender: str, planned: Planned, now: float) -> HoldRule | None:
        """Return the first rule that holds a delivery ``now``, or ``None``."""
        if self._rules is None:
            rows = self._connection.execute(
                f"{_SELECT} FROM hold WHERE until > ? ORDER BY id", (now,)
            ).fetchall()
            self._rules = [_rule(row) for row in rows]
        for rule in self._rules:
            if rule.until > now and _holds(rule, sender, planned):
                return rule
        return None


def note(tx: "Transaction", where: Sequence[Any], rule: HoldRule) -> None:
    """Record that ``rule`` holds a delivery, and why."""
    reason = f"held by rule {rule.id}: {rule.reason or f'made by {rule.who}'}"
    tx.execute(
        "UPDATE delivery SET hold = ?, reason = ? WHERE message = ? AND n = ?", (rule.id, reason, *where)
    )


def make(tx: "Transaction", rule: HoldRule, made: float | None = None) -> int:
    """
    Put ``rule`` in force; return its number. Raises ``ValueError`` for one that cannot be meant.

    :param made: when that was, for one that comes from another spool and may be over.
    """
    begin = tx.now if made is None else made
    if not begin < rule.until <= tx.now + LONGEST:
        raise ValueError("a hold rule ends later than now, and in less than a hundred years")
    if not any((rule.sender, rule.recipient, rule.provider, rule.route)):
        raise ValueError("a hold rule needs a sender, a recipient, a provider or a route; * is any")
    number: int = tx.execute(
        "INSERT INTO hold (sender, recipient, provider, route, reason, who, made, until)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (
            rule.sender,
            rule.recipient,
            rule.provider,
            rule.route,
            rule.reason,
            rule.who,
            begin,
            rule.until,
        ),
    ).fetchone()[0]
    tx.hold_rules.forget()
    return number


def same(tx: "Transaction", rule: HoldRule) -> int | None:
    """Return the number of the rule that is ``rule``, whatever its number is there."""
    values = [getattr(rule, name) for name in _COLUMNS[1:]]
    where = " AND ".join(f"{name} = ?" for name in _COLUMNS[1:])
    row = tx.execute(f"SELECT id FROM hold WHERE {where}", values).fetchone()  # noqa: S608 -- constants
    return None if row is None else int(row[0])


def with_number(tx: "Transaction", number: int) -> HoldRule | None:
    """Return the rule with this number, or ``None``."""
    row = tx.execute(f"{_SELECT} FROM hold WHERE id = ?", (number,)).fetchone()
    return None if row is None else _rule(row)


def end(tx: "Transaction", number: int, who: str) -> HoldRule:
    """End a rule now and return it. Raises ``LookupError`` if there is none with this number."""
    rule = with_number(tx, number)
    if rule is None:
        raise LookupError(f"there is no hold rule {number}")
    tx.execute("UPDATE hold SET until = ?, ended_by = ? WHERE id = ?", (tx.now, who, number))
    tx.hold_rules.forget()
    return rule


def rules(connection: "Connection") -> list[HoldRule]:
    """Return all rules, with what each of them holds."""
    counted = dict(
        connection.execute("SELECT hold, count(*) FROM delivery WHERE hold <> 0 GROUP BY hold", ()).fetchall()
    )
    rows = connection.execute(f"{_SELECT} FROM hold ORDER BY id", ()).fetchall()
    return [_rule(row, counted.get(row[0], 0)) for row in rows]


@frozen
class Due:
    """
    What is to be done for the rules, or when.

    :ivar rule: to be carried out if ``mark`` is given; else it has ended, by ``ended_by`` or in its time.
    :ivar when: without a rule: the next one ends then, seconds since the epoch, or ``None``.
    """

    rule: HoldRule | None = None
    mark: str | None = None
    ended_by: str = ""
    when: float | None = None


def due(tx: "Transaction") -> Due:
    """Return what is to be done first."""
    row = tx.execute(
        f"{_SELECT}, progress, ended_by FROM hold WHERE until <= ? OR progress <> ? ORDER BY id LIMIT 1",
        (tx.now, _DONE),
    ).fetchone()
    if row is None:
        return Due(when=tx.execute("SELECT min(until) FROM hold").fetchone()[0])
    *columns, progress, ended_by = row
    rule = _rule(columns)
    return Due(rule=rule, mark=None if rule.until <= tx.now else progress, ended_by=ended_by)


def proceed(tx: "Transaction", number: int, mark: str) -> None:
    """Record how far a rule was applied; ``""``: completely."""
    tx.execute("UPDATE hold SET progress = ? WHERE id = ?", (mark or _DONE, number))


def drop(tx: "Transaction", number: int) -> bool:
    """Forget a rule that has ended, unless it still holds something; tell whether it is gone."""
    gone = tx.execute(
        "DELETE FROM hold WHERE id = ? AND until <= ? AND NOT EXISTS ("
        "SELECT 1 FROM delivery WHERE delivery.hold = ? AND delivery.hold <> 0) RETURNING id",
        (number, tx.now, number),
    )
    return bool(gone.fetchall())


def hold_change(rule: HoldRule) -> tuple[Selection, Edit]:
    """Return the change that holds what waited when ``rule`` was made."""
    selection = Selection(
        sender=rule.sender,
        recipient=rule.recipient,
        provider=rule.provider,
        route=rule.route,
    )
    return selection, Edit(action="hold", who=rule.who, why=rule.reason, rule=rule.id)


def release_change(rule: HoldRule, ended_by: str) -> tuple[Selection, Edit]:
    """Return the change that releases what ``rule`` held."""
    why = f"hold rule {rule.id} {'was ended' if ended_by else 'is over'}"
    edit = Edit(action="release", who=ended_by or "the relay", why=why, rule=rule.id)
    return Selection(hold=rule.id), edit


#: Of a rule that was carried out on what waited when it was made.
_DONE: Final = "done"


def _rule(row: Sequence[Any], count: int = 0) -> HoldRule:
    return HoldRule(**dict(zip(_COLUMNS, row, strict=True)), count=count)


def _holds(rule: HoldRule, sender: str, planned: Planned) -> bool:
    return (
        _fits(rule.sender, sender or NOBODY)
        and _fits(rule.provider, planned.provider)
        and _fits(rule.route, planned.route)
        and (not rule.recipient or any(_fits(rule.recipient, each.address) for each in planned.recipients))
    )


def _fits(pattern: str, text: str) -> bool:
    return not pattern or _compiled(pattern).fullmatch(text) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern with ``*`` for anything; capitals do not matter."""
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.IGNORECASE | re.DOTALL)
