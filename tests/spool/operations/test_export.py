"""Whatever a spool knows of a message goes with it."""

import re

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.spool.engines.sqlite import SqliteEngine
from smtprelay.spool.engines.transaction import SpoolNode
from smtprelay.spool.operations import export

#: What belongs to the spool that a message is in, not to the message.
STAYS = {
    "message": {"kept"},
    "delivery": {"lane", "node", "slot", "lease", "suspect"},
    "recipient": {"position"},
    "attempt": set(),
    "credential": set(),
}
STATEMENTS = {
    "message": export._MESSAGES,
    "delivery": export._DELIVERIES,
    "recipient": export._RECIPIENTS,
    "attempt": export._ATTEMPTS,
    "credential": export._CREDENTIALS,
}


class ColumnTests(SynchronousTestCase):
    def test_no_column_is_forgotten(self) -> None:
        """A column of a message's tables is exported, or it is said here why it is not."""
        engine = SqliteEngine(database=":memory:", node=SpoolNode(rate_limits={}), seconds=lambda: 0.0)
        connection = engine.connect()
        for table, sql in STATEMENTS.items():
            columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})").fetchall()}
            asked, _, _ = sql.partition("FROM")
            exported = set(re.findall(r"(?:\bd\.)?\b(\w+)\b(?=,|\s*$)", asked))
            self.assertEqual(STAYS[table], columns - exported, table)
