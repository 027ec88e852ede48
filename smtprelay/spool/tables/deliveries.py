"""
A delivery as it comes out of the tables again.

Whoever reads one, to attempt it or to move it, must see the same envelope: the
recipients that are still open, in their order, and no others.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from smtprelay.model.message import Delivery, Envelope, Recipient
from smtprelay.model.queue import RECORDED, SPLIT, AttemptRecord
from smtprelay.model.shape import Shape
from smtprelay.spool.engines.transaction import Connection, Transaction
from smtprelay.spool.tables.lane import Lane

T = TypeVar("T")

#: What :func:`deliveries_of` wants, of the tables ``delivery d`` and ``message m``.
COLUMNS: Final = (
    "d.message, d.n, d.generation, d.route, m.sender, m.parameters, m.received, m.size, m.bounce_of,"
    " m.author, m.client, m.eight_bit, m.long_lines"
)

#: How many columns these are.
WIDTH: Final = COLUMNS.count(",") + 1

#: Joins the lane ``l`` of a delivery ``d``, and its provider's own lane ``o``.
LANES: Final = " JOIN lane l ON l.id = d.lane LEFT JOIN lane o ON o.provider = l.provider AND o.key = ''"

_PROVIDERS: Final = (
    "SELECT DISTINCT l.provider FROM delivery d JOIN lane l ON l.id = d.lane WHERE d.message IN ({})"
)

#: What :func:`attempt_of` wants, of the table ``attempt``.
ATTEMPT: Final = "number, provider, node, started, ended, outcome, reason"

#: The outcomes in a delivery's history that are no attempt's but a change to it, for ``IN (…)``.
EDITS: Final = ", ".join(f"'{action}'" for action in (*RECORDED, SPLIT))

#: In a delivery's ``noticed``: its sender was notified that it is delayed, that it has failed.
DELAYED: Final = 1
BOUNCED: Final = 2

#: Values that are listed in one statement at most; each number of them is a statement that stays prepared.
_MOST_LISTED: Final = 32


def deliveries_of(
    connection: Connection, lane: tuple[str, str], rows: Sequence[Sequence[Any]], state: str = "open"
) -> list[Delivery]:
    """
    Return the deliveries of a lane, named by provider and key, whose ``rows`` begin with :data:`COLUMNS`.

    :param state: of the recipients that are meant.
    """
    recipients: dict[tuple[str, int], list[Recipient]] = {}
    for some in portions([row[0] for row in rows]):
        found = connection.execute(
            "SELECT message, n, address, notify, orcpt FROM recipient"  # noqa: S608 -- constants
            f" WHERE message IN ({marks(some)}) AND state = '{state}' ORDER BY message, n, position",
            some,
        ).fetchall()
        for message, n, address, notify, orcpt in found:
            recipient = Recipient(address=address, notify=notify, orcpt=orcpt)
            recipients.setdefault((message, n), []).append(recipient)
    return [_delivery(lane, row, recipients.get((row[0], row[1]), ())) for row in rows]


def _delivery(lane: tuple[str, str], row: Sequence[Any], recipients: Sequence[Recipient]) -> Delivery:
    message, n, generation, route, sender, parameters, received, size, bounce_of, *rest = row[:WIDTH]
    author, client, *octets = rest
    envelope = Envelope(sender=sender, recipients=tuple(recipients), parameters=json.loads(parameters))
    return Delivery(
        message=message,
        n=n,
        generation=generation,
        route=route,
        provider=lane[0],
        lane=lane[1],
        envelope=envelope,
        size=size,
        received=received,
        author=author or sender,
        login=_client(client).get("user", ""),
        sends_as=_client(client).get("sends_as", ""),
        application=_client(client).get("application", ""),
        bounce_of=bounce_of,
        shape=shape_of(size, *octets),
    )


@lru_cache(maxsize=256)
def _client(client: str) -> Mapping[str, str]:
    """Return the client of a message; one client sends many messages."""
    found: Mapping[str, str] = json.loads(client)
    return found


def shape_of(size: int, eight_bit: int | None, long_lines: int | None) -> Shape | None:
    """Return the shape of a message from its columns."""
    if eight_bit is None:
        return None
    return Shape(size=size, eight_bit=eight_bit, long_lines=bool(long_lines))


def attempt_of(row: Sequence[Any]) -> AttemptRecord:
    """Return the attempt of a row of :data:`ATTEMPT`."""
    return AttemptRecord(**dict(zip(ATTEMPT.split(", "), row, strict=True)))


def take_lanes(tx: Transaction, messages: Collection[str], *providers: str) -> None:
    """Lock the own lanes of the providers of ``messages``, and of ``providers``, before any delivery."""
    if not tx.node.locking.row:
        return
    needed = set(filter(None, providers))
    for some in portions(sorted(messages)):
        needed.update(provider for (provider,) in tx.execute(_PROVIDERS.format(marks(some)), some).fetchall())
    tx.lanes.take(sorted(needed))


def first_due(tx: Transaction, lane: Lane) -> float | None:
    """Return when the first delivery in ``lane`` is due, or ``None`` if none waits; suspects wait apart."""
    sql = "SELECT min(due) FROM delivery WHERE lane = ? AND due IS NOT NULL AND suspect = 0"
    due: float | None = tx.execute(sql, (lane.id,)).fetchone()[0]
    return due


def marks(values: Sequence[Any]) -> str:
    """Return a parameter's mark for each of ``values``, as ``IN`` wants them; it wants one at least."""
    return ", ".join("?" * len(values)) or "NULL"


def portions(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Give ``values`` in portions that one statement may list."""
    for start in range(0, len(values), _MOST_LISTED):
        yield values[start : start + _MOST_LISTED]


def storable(text: str) -> str:
    """
    Return ``text`` as every database takes it, what cannot be encoded spelled out.

    Words that came from outside, decoded by somebody's codec, may hold half of a surrogate pair or a NUL.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")
