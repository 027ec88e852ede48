"""
A message becomes ours: its rows, and the claim of what may go at once.

Both happen in one transaction. A mail that is sent as soon as it arrives
costs two commits in all, this one and the one that settles it.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import attrs
from attrs import field, frozen

from smtprelay.model.attempt import Claim
from smtprelay.model.message import Client, Draft, Planned
from smtprelay.model.rate_limit import Load
from smtprelay.model.shape import Shape
from smtprelay.spool.engines.transaction import Connection, Transaction
from smtprelay.spool.operations.lane_capacity import LaneCapacity
from smtprelay.spool.seal import SealedLogin
from smtprelay.spool.tables.deliveries import storable
from smtprelay.spool.tables.hold_rules import note

#: Bodies are stored in pieces of at most this many bytes.
CHUNK = 256 * 1024


@frozen(kw_only=True)
class Arrival:
    """
    A message that has arrived whole.

    :ivar chunks: how many chunks of its body are stored already.
    :ivar rest: what is not, at most one chunk.
    :ivar sealed: the login of the client, if it is to be stored.
    """

    draft: Draft
    shape: Shape
    subject: str
    message_id: str
    planned: Sequence[Planned]
    chunks: int = 0
    rest: bytes = field(repr=False, default=b"")
    sealed: SealedLogin | None = None


def store_chunk(tx: Transaction, message: str, n: int, content: bytes) -> None:
    """Store one piece of a body whose message is still arriving."""
    # With each piece, for the one before it may have failed, and a piece without an upload is never swept.
    tx.execute(
        "INSERT INTO upload (message, node) VALUES (?, ?) ON CONFLICT DO NOTHING", (message, tx.node.name)
    )
    tx.insert("chunk", (message, n, content))


def piece(connection: Connection, message: str, n: int) -> bytes | None:
    """Return the n-th piece of a body, from 1, at most 256 KiB; ``None`` behind the last."""
    row = connection.execute("SELECT content FROM chunk WHERE message = ? AND n = ?", (message, n)).fetchone()
    return None if row is None else bytes(row[0])


def forget_chunks(tx: Transaction, message: str) -> None:
    """Drop the pieces of a body whose message will not come; one that has come after all keeps them."""
    # Where an answer to a commit may be lost, a message may be here whose client was asked to send it again.
    arriving = "EXISTS (SELECT 1 FROM upload WHERE message = ?)"
    tx.execute(f"DELETE FROM chunk WHERE message = ? AND {arriving}", (message, message))  # noqa: S608
    tx.execute("DELETE FROM upload WHERE message = ?", (message,))


def accept(tx: Transaction, arrival: Arrival, *, claiming: bool, may_hold: bool = True) -> list[Claim]:
    """
    Make the message ours; return the claims on those of its deliveries that may go now.

    :param claiming: without it everything is queued.
    :param may_hold: the rules that hold mail apply.
    :raises LookupError: a piece of the body is missing.
    :raises ValueError: it has no recipients.
    """
    draft = arrival.draft
    if not arrival.planned:
        raise ValueError(f"{draft.id}: no delivery is planned")
    if arrival.chunks:
        (stored,) = tx.execute("SELECT count(*) FROM chunk WHERE message = ?", (draft.id,)).fetchone()
        if stored != arrival.chunks:
            raise LookupError(f"{draft.id}: {stored} of {arrival.chunks} pieces of the body are stored")
        tx.execute("DELETE FROM upload WHERE message = ?", (draft.id,))
    if arrival.rest or not arrival.chunks:
        tx.insert("chunk", (draft.id, arrival.chunks + 1, arrival.rest))
    envelope = draft.envelope
    parameters = json.dumps(dict(envelope.parameters)) if envelope.parameters else "{}"
    tx.insert(
        "message",
        (
            draft.id,
            envelope.sender,
            parameters,
            _described(draft.client),
            draft.received,
            arrival.shape.size,
            arrival.subject,
            arrival.message_id,
            draft.bounce_of,
            storable(arrival.planned[0].author),
            arrival.shape.eight_bit,
            int(arrival.shape.long_lines),
        ),
    )
    numbers = range(1, len(arrival.planned) + 1)
    started = (_deliver(tx, arrival, n, claiming=claiming, may_hold=may_hold) for n in numbers)
    return [claim for claim in started if claim is not None]


@lru_cache(maxsize=256)
def _described(client: Client) -> str:
    """Return the client as it is stored; one client sends many messages."""
    return json.dumps(attrs.asdict(client))


def _deliver(tx: Transaction, arrival: Arrival, n: int, *, claiming: bool, may_hold: bool) -> Claim | None:
    """Write the n-th delivery, claimed if it need not wait behind others of its lane."""
    message, planned = arrival.draft.id, arrival.planned[n - 1]
    lane = tx.lanes.get(planned.provider, planned.lane)
    rate_limit = tx.node.rate_limits.get(planned.provider)
    goes = False
    rule = tx.hold_rules.match(arrival.draft.envelope.sender, planned, tx.now) if may_hold else None
    may_begin = claiming and not tx.node.exclusive.blocks(tx.now)
    if rule is None and may_begin and rate_limit is not None and (lane.due is None or lane.due > tx.now):
        capacity = LaneCapacity(tx, planned.provider, rate_limit)
        load = Load(recipients=len(planned.recipients), bytes=arrival.shape.size)
        goes = capacity.room_in(lane, load) > 0
        if goes:
            capacity.occupy(lane, load)
    if goes:
        row: tuple[Any, ...] = ("active", None, 1, 0, 0, 0, tx.node.name, 1, tx.now + tx.node.lease)
    elif rule is not None:
        row = ("held", None, 0, 0, 0, 0, "", 0, None)
        lane.held += 1
    else:
        row = ("queued", tx.now, 0, 0, 0, 0, "", 0, None)
        lane.wait("queued", tx.now)
    tx.insert("delivery", (message, n, 1, planned.route, lane.id, *row, tx.lanes.blocked_time(lane), ""))
    sealed = arrival.sealed
    if sealed is not None and planned.needs_login:
        tx.insert("credential", (message, n, sealed.key_id, sealed.octets))
    for position, each in enumerate(planned.recipients, start=1):
        tx.insert("recipient", (message, n, position, each.address, each.notify, each.orcpt, "open", "", ""))
    if rule is not None:
        note(tx, (message, n), rule)
    return begin(tx, arrival, n, planned, tx.now) if goes else None


def begin(tx: Transaction, arrival: Arrival, n: int, planned: Planned, started: float) -> Claim:
    """Write the first attempt of the n-th delivery; return the claim that it is made under."""
    draft = arrival.draft
    tx.insert("attempt", (draft.id, n, 1, planned.provider, tx.node.name, started, None, "", ""))
    delivery = planned.delivery(draft, n, arrival.shape)
    body = None if arrival.chunks else arrival.rest
    return Claim(delivery=delivery, node=tx.node.name, attempt=1, body=body)
