"""
What the tables of a spool say, read past the relay.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from attrs import frozen

from smtprelay.spool.engines.postgres_connection import PostgresConnection
from smtprelay.spool.engines.sqlite import DATABASE
from smtprelay.spool.maintenance.check import check


@frozen
class SpoolTables:
    """
    Answers questions about a spool, a connection for each.

    :ivar connect: gives one that takes ``?`` parameters and can be closed.
    """

    connect: Callable[[], Any]

    @classmethod
    def of_folder(cls, folder: Path) -> "SpoolTables":
        """Return that of the spool in ``folder``."""
        return cls(lambda: sqlite3.connect(folder / DATABASE))

    @classmethod
    def of_database(cls, url: str) -> "SpoolTables":
        """Return that of the spool at ``url``."""
        return cls(lambda: PostgresConnection(lambda: url, reading=True))

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows that ``sql`` gives."""
        with closing(self.connect()) as connection:
            return list(connection.execute(sql).fetchall())

    def waiting(self) -> int:
        """Return how many deliveries have not come to their end."""
        return int(self.ask("SELECT count(*) FROM delivery WHERE ended IS NULL")[0][0])

    def left_over(self) -> int:
        """Return how many rows of bodies there are."""
        return int(self.ask("SELECT (SELECT count(*) FROM chunk) + (SELECT count(*) FROM upload)")[0][0])

    def in_doubt(self) -> "Counter[str]":
        """Return how many attempts ended without an outcome, by the name in the mail's Message-ID."""
        rows = self.ask(
            "SELECT m.message_id, count(*) FROM attempt a JOIN message m ON m.id = a.message"
            " WHERE a.outcome LIKE '%uncertain%' GROUP BY m.message_id"
        )
        return Counter({name_of(message_id): count for message_id, count in rows})

    def nodes(self) -> set[str]:
        """Return the names of the nodes that have attempted something."""
        return {name for (name,) in self.ask("SELECT DISTINCT node FROM attempt")}

    def at_work(self) -> set[str]:
        """Return the names of the nodes that have an attempt under way."""
        return {name for (name,) in self.ask("SELECT DISTINCT node FROM attempt WHERE ended IS NULL")}

    def wrong(self) -> list[str]:
        """Return what ``smtprelay spool check`` would complain of; for a spool at rest."""
        with closing(self.connect()) as connection:
            return check(connection)


def name_of(message_id: str) -> str:
    """Return the name that a mail of the tests has in its Message-ID."""
    return message_id.strip("<>").partition("@")[0]
