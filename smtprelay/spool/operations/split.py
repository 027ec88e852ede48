"""
A delivery becomes two of the same message, each with some of the recipients.

A provider may refuse a request for one of its recipients and not say which. The halves go on apart, and are
halved again, until the one is alone.
"""

from typing import Final

from smtprelay.model.attempt import Claim, Settlement
from smtprelay.model.queue import SPLIT
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.tables.deliveries import marks
from smtprelay.spool.tables.lane import Lane

_MESSAGE: Final = "SELECT id FROM message WHERE id = ?"
_NEXT: Final = "SELECT max(n) + 1 FROM delivery WHERE message = ?"

#: The new delivery is as the old one is now; its only history is that it was split off.
_COPY: Final = """
    INSERT INTO delivery (message, n, generation, route, lane, state, due, attempt, tries, errors, uncertain,
        node, slot, lease, blocked_before, reason, noticed, deferrals)
    SELECT message, ?, generation, route, lane, state, due, 1, tries, errors, uncertain,
        node, slot, lease, blocked_before, reason, noticed, deferrals
    FROM delivery WHERE message = ? AND n = ?"""

_COPY_LOGIN: Final = """
    INSERT INTO credential (message, n, key_id, sealed)
    SELECT message, ?, key_id, sealed FROM credential WHERE message = ? AND n = ?"""

_MOVE: Final = "UPDATE recipient SET n = ? WHERE message = ? AND n = ? AND state = 'open' AND address IN ({})"


def split(tx: Transaction, claim: Claim, settlement: Settlement, lane: Lane) -> None:
    """Carry out :attr:`Settlement.split` on a delivery that was just settled, and waits in ``lane``."""
    delivery = claim.delivery
    still_open = [each for each in delivery.envelope.addresses if each not in settlement.closed]
    leaving = [each for each in still_open if each in settlement.split]
    if not leaving or len(leaving) == len(still_open):
        return
    where = (delivery.message, delivery.n)
    if tx.node.locking.row:
        # Two nodes that split two deliveries of a message must not give the same number.
        tx.connection.execute(_MESSAGE + tx.node.locking.row, (delivery.message,))
    (n,) = tx.connection.execute(_NEXT, (delivery.message,)).fetchone()
    tx.connection.execute(_COPY, (n, *where))
    if delivery.application:
        tx.connection.execute(_COPY_LOGIN, (n, *where))
    tx.connection.execute(_MOVE.format(marks(leaving)), (n, *where, *leaving))
    state, due = tx.connection.execute(
        "SELECT state, due FROM delivery WHERE message = ? AND n = ?", (delivery.message, n)
    ).fetchone()
    lane.wait(state, due)
    number = claim.attempt + 1
    tx.connection.execute("UPDATE delivery SET attempt = ? WHERE message = ? AND n = ?", (number, *where))
    _note(tx, (*where, number), lane, f"{len(leaving)} recipients go on as {delivery.message}.{n}")
    _note(tx, (delivery.message, n, 1), lane, f"was part of {delivery.id}")


def _note(tx: Transaction, where: tuple[str, int, int], lane: Lane, reason: str) -> None:
    tx.insert("attempt", (*where, lane.provider, tx.node.name, tx.now, tx.now, SPLIT, reason))
