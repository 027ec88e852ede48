"""
The usual end, for many deliveries at once: delivered to all recipients at the first attempt.

A group of them is recorded with as many statements as one of them, and that is what
nearly all mail costs.
"""

from collections.abc import Sequence
from functools import cache
from typing import Final

from smtprelay.model.attempt import Claim, Settlement
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import Delivered
from smtprelay.model.queue import FOR_GOOD
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.tables.deliveries import marks, portions, storable


def is_usual(claim: Claim, settlement: Settlement) -> bool:
    """Tell whether :func:`deliver` may record this settlement."""
    outcomes = list(settlement.outcomes.values())
    return (
        settlement.state == "delivered"
        and claim.attempt == 1
        and settlement.block is None
        and settlement.bounce is None
        and len(settlement.closed) == len(outcomes) == len(claim.delivery.envelope.recipients)
        and isinstance(outcomes[0], Delivered)
        and outcomes.count(outcomes[0]) == len(outcomes)
    )


def deliver(tx: Transaction, n: int, settled: Sequence[tuple[Claim, Settlement]]) -> None:
    """Record that these deliveries, the ``n``-th of their messages, have ended; the lanes are noted apart."""
    for some in portions(settled):
        messages = [claim.delivery.message for claim, _ in some]
        listed = marks(messages)
        tx.connection.run(_ATTEMPTS.format(listed), (tx.now, n, *messages))
        words: list[str] = []
        for message, (_, settlement) in zip(messages, some, strict=True):
            outcome = next(iter(settlement.outcomes.values()))
            assert isinstance(outcome, Delivered)
            words += message, storable(outcome.why), storable(outcome.id)
        tx.connection.run(_recipients(len(messages)), (*words, n))
        tx.connection.run(_DELIVERIES.format(listed), (tx.now, n, *messages))
        erase_logins(tx, n, [claim.delivery for claim, _ in some])
        finish(tx, messages)


def erase_logins(tx: Transaction, n: int, ended: Sequence[Delivery]) -> None:
    """Erase the stored logins of deliveries that have ended, the ``n``-th of their messages."""
    messages = [delivery.message for delivery in ended if delivery.application]
    if messages:
        tx.execute(f"DELETE FROM credential WHERE n = ? AND message IN ({marks(messages)})", (n, *messages))  # noqa: S608


def finish(tx: Transaction, messages: Sequence[str]) -> None:
    """
    Close those of ``messages`` whose deliveries are all final.

    The body goes at once when everything was delivered or deleted, unless bodies are kept for a while; that
    of a failed message stays with its history, so that an operator can still send it.
    """
    listed = marks(messages)
    if tx.node.locking.row:
        # Two nodes that end a message's last two deliveries must not both find the other one open.
        tx.connection.execute(_LOCK.format(listed) + tx.node.locking.row, messages)
    if tx.node.keeps_bodies:
        tx.connection.run(_FINISH.format(", kept = 1", listed), (tx.now, *messages))
        return
    tx.connection.run(_FINISH.format("", listed), (tx.now, *messages))
    tx.connection.run(DROP_BODIES.format(listed), messages)


_LOCK: Final = "SELECT id FROM message WHERE id IN ({}) ORDER BY id"

_FINISH: Final = """
    UPDATE message SET finished = ?{} WHERE id IN ({}) AND NOT EXISTS (
        SELECT 1 FROM delivery WHERE delivery.message = message.id AND ended IS NULL)"""

#: The bodies of those messages that need none any more.
DROP_BODIES: Final = f"""
    DELETE FROM chunk WHERE message IN ({{}}) AND NOT EXISTS (
        SELECT 1 FROM delivery WHERE delivery.message = chunk.message AND state NOT IN {FOR_GOOD})"""  # noqa: S608

_ATTEMPTS: Final = """
    UPDATE attempt SET ended = ?, outcome = 'delivered', reason = ''
    WHERE n = ? AND number = 1 AND message IN ({})"""

_DELIVERIES: Final = """
    UPDATE delivery SET state = 'delivered', ended = ?, tries = 0, errors = 0, uncertain = 0, reason = '',
        node = '', slot = 0, lease = NULL
    WHERE n = ? AND message IN ({})"""


@cache
def _recipients(count: int) -> str:
    rows = ", ".join(["(?, ?, ?)"] * count)
    return (
        "UPDATE recipient SET state = 'delivered', reason = v.column2, provider_id = v.column3"  # noqa: S608
        f" FROM (VALUES {rows}) AS v WHERE recipient.message = v.column1 AND recipient.n = ?"
    )
