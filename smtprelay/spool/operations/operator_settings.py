"""
Exports and imports the values of :mod:`smtprelay.model.operator_settings`.
"""

from typing import Final

from attrs import evolve

from smtprelay.model.attempt import Block
from smtprelay.model.operator_settings import AppliedSettings, OperatorSettings, Suspension
from smtprelay.model.queue import SUSPENDED
from smtprelay.spool.engines.transaction import Connection, Transaction
from smtprelay.spool.operations.settle import set_block
from smtprelay.spool.tables import hold_rules

_SUSPENDED: Final = (
    "SELECT provider, blocked_reason, resumes FROM lane"
    " WHERE key = '' AND blocked_until = ? ORDER BY provider"
)


def settings(connection: Connection) -> OperatorSettings:
    """Return what is in force."""
    rows = connection.execute(_SUSPENDED, (SUSPENDED,)).fetchall()
    suspended = (Suspension(provider=name, reason=reason, resumes=resumes) for name, reason, resumes in rows)
    return OperatorSettings(holds=tuple(hold_rules.rules(connection)), suspended=tuple(suspended))


def apply_settings(tx: Transaction, given: OperatorSettings) -> AppliedSettings:
    """
    Put ``given`` in force; what is in force already is left as it is, so that it may be done again.

    A rule that is over comes in, too: what it held is released by its end.

    :raises ValueError: one of them cannot be meant.
    """
    found = {each.id: hold_rules.same(tx, each) for each in given.holds}
    new = {
        each.id: evolve(each, id=hold_rules.make(tx, each, made=each.made))
        for each in given.holds
        if found[each.id] is None
    }
    numbers = {before: number for before, number in found.items() if number is not None}
    suspended = tuple(each for each in given.suspended if _suspend(tx, each))
    return AppliedSettings(
        numbers=numbers | {before: rule.id for before, rule in new.items()},
        holds=tuple(new.values()),
        suspended=suspended,
    )


def _suspend(tx: Transaction, given: Suspension) -> bool:
    duration = None if given.resumes is None else given.resumes - tx.now
    if tx.lanes.get(given.provider, "").blocked_until == SUSPENDED or (
        duration is not None and duration <= 0
    ):
        return False
    reason = given.reason or "suspended"  # an empty one would open the lane
    set_block(
        tx, Block(provider=given.provider, until=SUSPENDED, reason=reason, operator=True, duration=duration)
    )
    return True
