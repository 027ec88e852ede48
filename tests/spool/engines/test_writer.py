"""What the writer promises to those who ask, when the database or the others let it down."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smtprelay.model.message import Client, Delivery, Draft, Envelope, Planned, Recipient
from smtprelay.model.shape import Shape
from smtprelay.spool.body import StoredBody
from smtprelay.spool.engines.memory import InlineReader
from smtprelay.spool.engines.sqlite import SqliteEngine
from smtprelay.spool.engines.transaction import SpoolFault, SpoolNode
from smtprelay.spool.engines.writer import InlineWriter, ThreadWriter, run_group
from smtprelay.spool.operations.accept import Arrival, accept, store_chunk
from tests.recording import Recording


def make_engine() -> SqliteEngine:
    return SqliteEngine(database=":memory:", node=SpoolNode(rate_limits={}), seconds=lambda: 1000.0)


def arrival(chunks: int) -> Arrival:
    recipients = (Recipient(address="a@x.org"),)
    return Arrival(
        draft=Draft(
            id="M1",
            envelope=Envelope(sender="", recipients=recipients),
            client=Client(address="127.0.0.1"),
            received=0.0,
        ),
        shape=Shape(size=6),
        subject="",
        message_id="",
        planned=[Planned(route="r", provider="p", lane="", recipients=recipients)],
        chunks=chunks,
        rest=b"end",
    )


class GroupTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.engine = make_engine()
        self.connection = self.engine.connect()

    def group(self, *operations: Any) -> list[Any]:
        return [getattr(each, "value", each) for each in run_group(self.engine, self.connection, operations)]

    def test_a_damaged_database_is_a_fault_of_the_spool(self) -> None:
        """It is nobody's own fault, so all of the group are told the same, and nothing is run again."""
        runs = []

        def broken(_: object) -> None:
            runs.append(1)
            raise sqlite3.DatabaseError("database disk image is malformed")

        results = self.group(lambda _: 1, broken)
        self.assertEqual([SpoolFault, SpoolFault], [type(each) for each in results])
        self.assertEqual([1], runs)

    def test_a_bad_value_is_the_fault_of_its_operation(self) -> None:
        """What cannot be stored fails alone."""
        results = self.group(lambda _: 1, lambda tx: tx.execute("SELECT ?", ("\ud800",)), lambda _: 3)
        self.assertEqual([1, 3], [results[0], results[2]])
        self.assertIsInstance(results[1], UnicodeEncodeError)

    def test_a_message_with_a_piece_missing_is_not_accepted(self) -> None:
        """A piece that could not be stored, or was swept, is noticed before the message becomes ours."""
        self.group(lambda tx: store_chunk(tx, "M1", 2, b"def"))
        (result,) = self.group(lambda tx: accept(tx, arrival(2), claiming=False))
        self.assertIn("1 of 2 pieces", str(result))
        self.assertEqual([], self.connection.execute("SELECT * FROM message").fetchall())

    def test_pieces_whose_first_one_failed_are_known_as_an_upload(self) -> None:
        """So that the next start sweeps them."""
        self.group(lambda tx: store_chunk(tx, "M1", 2, b"def"), lambda tx: store_chunk(tx, "M1", 3, b"ghi"))
        self.assertEqual([("M1",)], self.connection.execute("SELECT message FROM upload").fetchall())


class BodyTests(SynchronousTestCase):
    def test_half_a_body_is_none(self) -> None:
        """When a piece is gone reading ends with an error, not with the end of the mail."""
        writer = InlineWriter(make_engine())
        delivery = Delivery(
            message="M1",
            n=1,
            generation=1,
            route="r",
            provider="p",
            lane="",
            envelope=Envelope(sender=""),
            size=6,
            received=0.0,
        )
        self.successResultOf(writer.do(lambda tx: store_chunk(tx, "M1", 1, b"abc")))
        body = StoredBody(InlineReader(writer.connection), delivery.message, delivery.size)
        failure = self.failureResultOf(Deferred.fromCoroutine(body.whole()), LookupError)
        self.assertIn("has 3 bytes instead of 6", str(failure.value))


class ThreadWriterTests(TestCase):
    async def test_what_comes_after_the_end_is_told_so(self) -> None:
        """It fails at once, and nobody waits for what will never be done."""
        writer = ThreadWriter(make_engine(), reactor, Recording(), "test-writer")
        await writer.start()
        before = writer.do(lambda _: "done")
        closed = writer.close()
        with self.assertRaises(SpoolFault):
            await writer.do(lambda _: "never")
        self.assertEqual("done", await before)
        await closed

    async def test_a_transaction_that_cannot_end_does_not_end_the_writer(self) -> None:
        """Whatever an engine raises belongs to those who asked; the next group is run."""

        class Faulty(SqliteEngine):
            @contextmanager
            def transaction(self, connection: Any) -> Iterator[Any]:
                with super().transaction(connection) as transaction:
                    yield transaction
                if not faults:
                    faults.append(1)
                    raise OSError("disk on fire")

        faults: list[int] = []
        engine = Faulty(database=":memory:", node=SpoolNode(rate_limits={}), seconds=lambda: 1000.0)
        writer = ThreadWriter(engine, reactor, Recording(), "test-writer")
        with self.assertRaises(OSError):
            await writer.start()
        self.assertEqual("done", await writer.do(lambda _: "done"))
        await writer.close()
