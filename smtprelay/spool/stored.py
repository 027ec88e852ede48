"""
A delivery as it comes out of the tables again.

Whoever reads one, to attempt it or to move it, must see the same envelope: the
recipients that are still open, in their order, and no others.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from smtprelay.message import Delivery, Envelope, Recipient
from smtprelay.spool.connection import Transaction
from smtprelay.spool.lanes import Lane

#: What :func:`delivery_of` wants, of the tables ``delivery d`` and ``message m``.
COLUMNS: Final = (
    "d.message, d.n, d.generation, d.route, m.sender, m.parameters, m.received, m.size, m.bounce_of"
)


def delivery_of(tx: Transaction, lane: Lane, row: Sequence[Any]) -> Delivery:
    """Return the delivery of ``lane`` whose ``row`` begins with :data:`COLUMNS`."""
    message, n, generation, route, sender, parameters, received, size, bounce_of = row[:9]
    recipients = tx.execute(
        "SELECT address, notify, orcpt FROM recipient WHERE message = ? AND n = ? AND state = 'open'"
        " ORDER BY position",
        (message, n),
    ).fetchall()
    envelope = Envelope(
        sender=sender,
        recipients=tuple(
            Recipient(address=address, notify=notify, orcpt=orcpt) for address, notify, orcpt in recipients
        ),
        parameters=json.loads(parameters),
    )
    return Delivery(
        message=message,
        n=n,
        generation=generation,
        route=route,
        provider=lane.provider,
        lane=lane.key,
        envelope=envelope,
        size=size,
        received=received,
        bounce_of=bounce_of,
    )


def first_due(tx: Transaction, lane: Lane) -> float | None:
    """Return when the first delivery that waits in ``lane`` is due, or ``None`` if none waits."""
    sql = "SELECT min(due) FROM delivery WHERE lane = ? AND due IS NOT NULL"
    due: float | None = tx.execute(sql, (lane.id,)).fetchone()[0]
    return due


def storable(text: str) -> str:
    """
    Return ``text`` as every database takes it, what cannot be encoded spelled out.

    Words that came from outside, decoded by somebody's codec, may hold half of a surrogate pair or a NUL.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")
