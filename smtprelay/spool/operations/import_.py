"""
Imports archive items from another spool.

Messages keep everything that makes their next attempt the same operation to a provider: id, numbers of
deliveries, generation, attempts, and whether the last one's outcome is unknown. A message that the spool has
already is left unchanged, so an import can be repeated.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any, Final

from smtprelay.model.archive import ArchivedDelivery, ArchivedMessage, ArchiveItem
from smtprelay.model.archive_json import faults
from smtprelay.spool.engines.transaction import Transaction
from smtprelay.spool.operations.accept import CHUNK, forget_chunks, store_chunk
from smtprelay.spool.tables import hold_rules
from smtprelay.spool.tables.deliveries import BOUNCED, DELAYED, storable

_MESSAGE: Final = """
    INSERT INTO message (id, sender, parameters, client, received, size, subject, message_id, bounce_of,
        finished, kept, author, eight_bit, long_lines)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id"""

_DELIVERY: Final = """
    INSERT INTO delivery (message, n, generation, route, lane, state, due, ended, attempt, tries, deferrals,
        errors, uncertain, noticed, node, slot, lease, blocked_before, reason)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', 0, NULL, ?, ?)"""


def put(tx: Transaction, item: ArchiveItem) -> bool:
    """
    Take one message in; ``False`` if it is here already.

    :raises ValueError: it contradicts itself, its body is not whole, or it has no route here.
    """
    archived = item.archived
    for fault in faults(archived):
        raise ValueError(fault)
    if item.refusal and not _is_here(tx, archived.id):
        raise ValueError(item.refusal)
    if tx.execute(_MESSAGE, _message(archived)).fetchone() is None:
        return False
    _put_body(tx, item)
    for delivery in archived.deliveries:
        _put_delivery(tx, archived.id, delivery)
    return True


def put_piece(tx: Transaction, message: str, n: int, content: bytes) -> bool:
    """Take the n-th piece of a body in; ``False`` if there is such a message already."""
    if _is_here(tx, message):
        return False
    if not 0 < len(content) <= CHUNK or n < 1:
        raise ValueError(f"a piece of a body has 1 to {CHUNK} bytes, and they are numbered from 1")
    if n == 1:
        # Left behind by an abandoned import.
        forget_chunks(tx, message)
    store_chunk(tx, message, n, content)
    return True


def forget_pieces(tx: Transaction, message: str) -> None:
    """Drop the pieces of a message that was not taken in."""
    if not _is_here(tx, message):
        forget_chunks(tx, message)


def _is_here(tx: Transaction, message: str) -> bool:
    return tx.execute("SELECT 1 FROM message WHERE id = ?", (message,)).fetchone() is not None


def _message(archived: ArchivedMessage) -> Sequence[Any]:
    return (
        archived.id,
        archived.sender,
        json.dumps(dict(archived.parameters)),
        json.dumps(dict(archived.client)),
        archived.received,
        archived.size,
        storable(archived.subject),
        storable(archived.message_id),
        storable(archived.bounce_of),
        archived.finished,
        # So that the sweep of bodies looks at it.
        int(archived.finished is not None and archived.body),
        storable(archived.author),
        None if archived.shape is None else archived.shape.eight_bit,
        None if archived.shape is None else int(archived.shape.long_lines),
    )


def _put_body(tx: Transaction, item: ArchiveItem) -> None:
    archived, content = item.archived, item.content
    if not archived.body:
        forget_chunks(tx, archived.id)
        return
    if content is not None:
        forget_chunks(tx, archived.id)
        for n, start in enumerate(range(0, len(content) or 1, CHUNK), start=1):
            tx.insert("chunk", (archived.id, n, content[start : start + CHUNK]))
    tx.execute("DELETE FROM upload WHERE message = ?", (archived.id,))
    count, last, size = tx.execute(
        "SELECT count(*), coalesce(max(n), 0), coalesce(sum(length(content)), 0)"
        " FROM chunk WHERE message = ?",
        (archived.id,),
    ).fetchone()
    if not count or count != last or size != archived.size:
        raise ValueError(f"its body has {size} bytes instead of {archived.size}")


def _put_delivery(tx: Transaction, message: str, delivery: ArchivedDelivery) -> None:
    lane = tx.lanes.get(delivery.provider, delivery.lane)
    if delivery.due is not None:
        lane.wait(delivery.state, delivery.due)
    elif delivery.state == "held":
        lane.held += 1
    else:
        lane.finished += 1
    where = (message, delivery.n)
    tx.execute(
        _DELIVERY,
        (
            *where,
            delivery.generation,
            delivery.route,
            lane.id,
            delivery.state,
            delivery.due,
            delivery.ended,
            delivery.attempt,
            delivery.tries,
            delivery.deferrals,
            delivery.errors,
            int(delivery.uncertain),
            DELAYED * delivery.noticed | BOUNCED * delivery.bounced,
            tx.lanes.blocked_time(lane) - delivery.blocked,
            storable(delivery.reason),
        ),
    )
    for position, each in enumerate(delivery.recipients, start=1):
        words = (each.state, storable(each.reason), storable(each.provider_id))
        tx.insert("recipient", (*where, position, each.address, each.notify, each.orcpt, *words))
    for one in delivery.attempts:
        times = (one.number, storable(one.provider), storable(one.node), one.started, one.ended)
        tx.insert("attempt", (*where, *times, storable(one.outcome), storable(one.reason)))
    rule = hold_rules.with_number(tx, delivery.hold) if delivery.hold and delivery.state == "held" else None
    if rule is not None:
        hold_rules.note(tx, where, rule)
    if delivery.key_id:
        tx.execute(
            "INSERT INTO credential (message, n, key_id, sealed) VALUES (?, ?, ?, ?)",
            (*where, delivery.key_id, _sealed(delivery)),
        )


def _sealed(delivery: ArchivedDelivery) -> bytes:
    try:
        return base64.b64decode(delivery.sealed, validate=True)
    except binascii.Error:
        raise ValueError("its sealed credential is no base64") from None
