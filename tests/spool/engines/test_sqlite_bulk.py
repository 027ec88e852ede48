"""
What one statement does to several tables is what several would do.

That the spool behaves the same is shown by its suites, for which other engines have no strokes.
"""

import sqlite3

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.spool.engines import sqlite_bulk

COLUMNS = {
    "message": ("id", "sender"),
    "chunk": ("message", "n"),
    "delivery": ("message", "state"),
    "recipient": ("message", "address"),
    "attempt": ("message", "number"),
}


class ArriveTests(SynchronousTestCase):
    def setUp(self) -> None:
        connection = self.connection = sqlite3.connect(":memory:")
        self.asked: list[str] = []

        def run(sql: str, parameters=()) -> None:
            self.asked.append(sql)
            connection.execute(sql, parameters)

        self.run_one = run
        for table, columns in COLUMNS.items():
            connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
        for extra in (
            "n",
            "ended",
            "outcome",
            "reason",
            "provider_id",
            "tries",
            "errors",
            "uncertain",
            "node",
        ):
            connection.execute(f"ALTER TABLE delivery ADD COLUMN {extra}")
        self.addCleanup(connection.close)

    def rows(self, **more):
        rows = {table: [("A", table), ("B", table)] for table in COLUMNS}
        return {**rows, **more}

    def arrive(self, rows, most: int = 32) -> list[str]:
        sqlite_bulk.prepare(self.run_one, COLUMNS)
        self.asked.clear()
        sqlite_bulk.arrive(self.run_one, rows, most)
        return self.asked

    def stored(self, table: str) -> list[tuple]:
        names = ", ".join(COLUMNS[table])
        return self.connection.execute(f"SELECT {names} FROM {table} ORDER BY 1").fetchall()

    def test_claimed_messages_are_one_statement(self) -> None:
        """Each table gets its rows, and nothing is left to be written."""
        rows = self.rows()
        self.assertEqual(1, len(self.arrive(rows)))
        for table in COLUMNS:
            self.assertEqual([("A", table), ("B", table)], self.stored(table))
        self.assertEqual([[]] * 5, list(rows.values()))

    def test_queued_messages_have_no_attempt(self) -> None:
        """Where some are claimed and some are not, the attempts stay to be written by themselves."""
        rows = self.rows(attempt=[("A", 1)])
        self.assertEqual(1, len(self.arrive(rows)))
        self.assertEqual([], self.stored("attempt"))
        self.assertEqual([[], [], [], [], [("A", 1)]], list(rows.values()))

    def test_an_unusual_one_is_left_alone(self) -> None:
        """Two recipients of one message: all stays as it is."""
        rows = self.rows(recipient=[("A", "x"), ("A", "y"), ("B", "z")])
        self.assertEqual([], self.arrive(rows))
        self.assertEqual(2, len(rows["message"]))

    def test_nothing_is_nothing(self) -> None:
        """Without messages no statement is run, whatever else waits to be written."""
        rows = {table: [] for table in COLUMNS}
        self.assertEqual([], self.arrive({**rows, "chunk": [("A", 1)]}))

    def test_many_are_several_statements(self) -> None:
        """A statement has a bounded number of rows."""
        self.assertEqual(2, len(self.arrive(self.rows(), most=1)))
        self.assertEqual([("A", "message"), ("B", "message")], self.stored("message"))
