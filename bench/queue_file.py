"""
Spools with many deliveries, written by the queue's own operations in bulk.
"""

import random
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from attrs import frozen

from bench.load import SENDER
from smtprelay.model.message import Client, Draft, Envelope, Planned, Recipient
from smtprelay.model.message_id import new_id
from smtprelay.model.route import RateLimit
from smtprelay.model.shape import shape_of
from smtprelay.spool.engines.sqlite import DATABASE, SqliteEngine, prepare_folder
from smtprelay.spool.engines.transaction import Connection, SpoolNode
from smtprelay.spool.operations.accept import Arrival, accept

_BATCH: Final = 2000
_REASON: Final = "451 4.7.1 try again later"


@frozen
class Many:
    """So many deliveries of 1 KB at one provider that wait in its own lane, or in ``lanes`` others."""

    provider: str
    count: int
    lanes: int = 0


def engine_of(folder: Path, provider: str) -> SqliteEngine:
    """Return the engine of a spool in ``folder``, for transactions of our own."""
    rate_limits = {provider: RateLimit(concurrency=1_000_000, per_lane=4)}
    return SqliteEngine(
        database=str(folder / DATABASE), node=SpoolNode(rate_limits=rate_limits), seconds=time.time
    )


def connect(engine: SqliteEngine) -> Connection:
    """Open a spool without syncing: it is the statements that are measured, or just to be done."""
    connection = engine.connect()
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def fill(folder: Path, many: Many) -> None:
    """Write a spool in ``folder`` in which ``many`` are queued."""
    prepare_folder(str(folder))
    engine, chance = engine_of(folder, many.provider), random.Random(1)
    body = (b"Subject: waiting\r\nMessage-ID: <%d@example.com>\r\n\r\n" % many.count).ljust(
        1022, b"x"
    ) + b"\r\n"
    with closing(connect(engine)) as connection:
        for start in range(0, many.count, _BATCH):
            with engine.transaction(connection) as transaction:
                for number in range(start, min(start + _BATCH, many.count)):
                    lane = f"box{number % many.lanes}@example.com" if many.lanes else ""
                    accept(transaction, arrival(many.provider, body, chance, lane), claiming=False)


def defer(folder: Path, many: Many) -> None:
    """Have all of them tried once, and due in an hour or a little later."""
    later = time.time() + 3600
    with closing(connect(engine_of(folder, many.provider))) as connection:
        connection.execute("BEGIN")
        connection.execute(
            "UPDATE delivery SET state = 'deferred', attempt = 1, tries = 1, reason = ?,"
            " due = ? + abs(random() % 1000000) * 0.001",
            (_REASON, later),
        )
        connection.execute("UPDATE lane SET deferred = queued, queued = 0, due = ?", (later,))
        connection.execute(
            "INSERT INTO attempt (message, n, number, provider, node, started, ended, outcome, reason)"
            " SELECT message, n, 1, ?, 'local', ?, ?, 'deferred', ? FROM delivery",
            (many.provider, later, later, _REASON),
        )
        connection.execute("COMMIT")


def block(folder: Path, many: Many, keys: Sequence[str] = ("",)) -> None:
    """Stop lanes in which they wait for a day; without ``keys`` the provider's own."""
    engine = engine_of(folder, many.provider)
    with closing(connect(engine)) as connection, engine.transaction(connection) as transaction:
        for key in keys:
            lane = transaction.lanes.get(many.provider, key)
            lane.block(transaction.now + 86400, "401 expired", transaction.now)


def arrival(provider: str, body: bytes, chance: random.Random, lane: str = "") -> Arrival:
    """Return a message for one recipient that has just come in."""
    recipients = (Recipient(address="somebody@example.net"),)
    now = time.time()
    draft = Draft(
        id=new_id(now, chance.getrandbits),
        envelope=Envelope(sender=SENDER, recipients=recipients),
        client=Client(address="127.0.0.1", listener="in", helo="bench", protocol="ESMTP"),
        received=now,
    )
    planned = [Planned(route="waiting", provider=provider, lane=lane, recipients=recipients)]
    return Arrival(
        draft=draft,
        shape=shape_of(body),
        subject="waiting",
        message_id="<1@example.com>",
        planned=planned,
        rest=body,
    )
