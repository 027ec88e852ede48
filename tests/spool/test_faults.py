"""A disk that fails: what is told, what is opened anew, and how the spool comes back by itself."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from smtprelay.model.queue import Selection
from smtprelay.spool.engines.engine import Engine
from smtprelay.spool.engines.reader import ThreadReader
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.spool.engines.sqlite import (
    DATABASE,
    SqliteEngine,
    prepare_folder,
)
from smtprelay.spool.engines.transaction import Connection, SpoolFault, SpoolNode
from smtprelay.spool.engines.writer import ThreadWriter
from smtprelay.spool.receive.capacity import DiskSpace
from smtprelay.spool.spool import QueueSpool
from tests.behaviours.spool_stories import BODY, RATE_LIMITS, SpoolStories, done
from tests.listed import listed
from tests.recording import Recording

LARGE = BODY + b"x" * 600_000


class Disk:
    """
    What the disk under an engine does.

    :ivar fault: raised at each commit, unless it is ``None``.
    :ivar gone: nothing can be opened.
    :ivar opened: the connections that were, in their order.
    """

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.gone = False
        self.opened: list[Connection] = []


@define(kw_only=True)
class FaultyEngine(SqliteEngine):
    disk: Disk

    def connect(self) -> sqlite3.Connection:
        if self.disk.gone:
            raise SpoolFault("unable to open the database", broken=True)
        connection = super().connect()
        self.disk.opened.append(connection)
        return connection

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[Any]:
        with super().transaction(connection) as transaction:
            yield transaction
            if self.disk.fault is not None:
                raise self.disk.fault


def failure(code: int) -> sqlite3.OperationalError:
    """Return what the database raises, with SQLite's own ``code``."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    return error


class FaultCase(SpoolStories):
    async def open(self) -> QueueSpool:
        self.clock = Clock()
        self.clock.advance(1000)
        self.disk = Disk()
        self.events = Recording()
        self.folder = prepare_folder(self.mktemp())
        engine = FaultyEngine(
            database=str(self.folder / DATABASE),
            node=SpoolNode(rate_limits=RATE_LIMITS),
            seconds=self.clock.seconds,
            disk=self.disk,
        )
        writer = ThreadWriter(engine, reactor, self.events, "test-writer")
        await writer.start()
        reader = ThreadReader(engine, reactor)
        self.reader = reader
        spool = QueueSpool(writer, reader, SpoolOptions(rate_limits=RATE_LIMITS, events=self.events))
        self.addCleanup(spool.close)
        return spool

    def told(self, event: str) -> int:
        return len(self.events.of(event))

    async def pieces(self) -> int:
        count = "SELECT (SELECT count(*) FROM chunk) + (SELECT count(*) FROM upload)"
        return await self.reader.do(lambda connection: connection.execute(count).fetchone()[0])


class WriteFaultTests(FaultCase, TestCase):
    async def test_a_failed_write_until_one_succeeds(self) -> None:
        """The client keeps its mail, the complaint stays while writing fails, and goes without any mail."""
        spool = await self.open()
        self.disk.fault = failure(sqlite3.SQLITE_IOERR_FSYNC)
        reply = await self.send(spool, number=1)
        self.assertEqual((451, "4.3.0"), (reply.code, reply.enhanced))
        self.assertEqual("disk I/O error", spool.maintenance.complaint)
        for _ in range(2):
            await spool.maintenance.check_health()
            self.assertEqual("disk I/O error", spool.maintenance.complaint)
        self.disk.fault = None
        self.assertEqual("disk I/O error", spool.maintenance.complaint)
        woken: list[object] = []
        spool.listen(woken.append)
        await spool.maintenance.check_health()
        self.assertEqual(("", 1, [()]), (spool.maintenance.complaint, self.told("spool.writable"), woken))
        self.assertEqual(250, (await self.send(spool, number=2)).code)
        self.assertEqual(1, len(await listed(spool, Selection())))

    async def test_many_mails_while_nothing_can_be_written(self) -> None:
        """The log tells it once, and once more when it happens again after the spool could be written."""
        spool = await self.open()
        for count in (1, 2):
            self.disk.fault = failure(sqlite3.SQLITE_IOERR)
            for number in (1, 2, 3):
                self.assertEqual(451, (await self.send(spool, number=number, body=LARGE)).code)
            self.assertEqual(count, self.told("spool.failed"))
            self.disk.fault = None
            await spool.maintenance.check_health()

    async def test_success_of_what_writes_nothing_proves_nothing(self) -> None:
        """A claim that finds nothing is well even on a full disk."""
        spool = await self.open()
        self.disk.fault = failure(sqlite3.SQLITE_FULL)
        self.assertEqual(452, (await self.send(spool)).code)
        self.disk.fault = None
        await spool.claim()
        self.assertEqual("disk I/O error", spool.maintenance.complaint)

    async def test_a_broken_connection_is_never_used_again(self) -> None:
        """Another one is opened for the next group; one that only found no room is as good as before."""
        spool = await self.open()
        self.disk.fault = failure(sqlite3.SQLITE_FULL)
        await self.send(spool, number=1)
        self.disk.fault = None
        await self.send(spool, number=2)
        self.assertEqual(1, len(self.disk.opened))
        for code in (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_READONLY):
            self.disk.fault = failure(code)
            await self.send(spool, number=3)
        self.disk.fault = None
        self.assertEqual(250, (await self.send(spool, number=3)).code)
        self.assertEqual(4, len(self.disk.opened))
        self.assertEqual(2, len(await listed(spool, Selection())))
        with self.assertRaises(sqlite3.ProgrammingError):
            self.disk.opened[0].execute("SELECT 1")

    async def test_a_disk_that_is_away_for_a_while(self) -> None:
        """Everything fails with the reason and works again; what was accepted before is there."""
        spool = await self.open()
        await self.send(spool, number=1)
        (claim,) = (await spool.claim()).claims
        self.disk.fault, self.disk.gone = failure(sqlite3.SQLITE_IOERR), True
        operations = (
            lambda: spool.settle(claim, done(claim)),
            spool.claim,
            spool.recover,
            lambda: spool.renew([claim]),
            lambda: spool.maintenance.sweep(0.0),
        )
        for operation in operations:
            with self.assertRaises(SpoolFault):
                await operation()
        self.assertEqual(451, (await self.send(spool, number=2)).code)
        self.assertEqual("unable to open the database", spool.maintenance.complaint)
        self.disk.fault, self.disk.gone = None, False
        self.assertTrue(await spool.settle(claim, done(claim)))
        await spool.maintenance.check_health()
        self.assertEqual("", spool.maintenance.complaint)

    async def test_pieces_that_could_not_be_dropped(self) -> None:
        """They are dropped when the spool can be written again, without a restart."""
        spool = await self.open()
        incoming = spool.incoming(self.draft("a@example.com"), lambda _h, _s: [])
        await incoming.write(LARGE)
        self.disk.fault = failure(sqlite3.SQLITE_FULL)
        reply = await incoming.finish()
        self.assertEqual(451, reply.code)
        while not spool.maintenance.complaint:  # the pieces are dropped on nobody's time
            await spool.maintenance.check_health()
        self.disk.fault = None
        self.assertGreater(await self.pieces(), 0)
        await spool.maintenance.check_health()
        self.assertEqual(0, await self.pieces())

    async def test_a_piece_that_found_no_room(self) -> None:
        """Is a 452 at the end of the data, however long that is."""
        spool = await self.open()
        incoming = spool.incoming(self.draft("a@example.com"), lambda _h, _s: [self.planned(self.draft("a"))])
        self.disk.fault = failure(sqlite3.SQLITE_FULL)
        await incoming.write(LARGE)
        self.disk.fault = None
        incoming.write(LARGE)
        self.assertEqual(452, (await incoming.finish()).code)
        await spool.maintenance.check_health()
        self.assertEqual(0, await self.pieces())

    async def test_one_message_without_its_pieces_harms_no_other(self) -> None:
        """Those that share its transaction are accepted."""
        spool = await self.open()
        draft = self.draft("a@example.com", number=1)
        incoming = spool.incoming(draft, lambda _h, _s: [self.planned(draft)])
        await incoming.write(LARGE)
        await spool.recover()  # which sweeps what has not arrived
        ends = [incoming.finish(), self.send(spool, number=2)]
        replies = [await each for each in ends]
        self.assertEqual([451, 250], [reply.code for reply in replies])


class ReadFaultTests(FaultCase, TestCase):
    async def test_a_question_that_fails(self) -> None:
        """It is a fault of the spool and a reason not to be ready; then a new connection is asked."""
        spool = await self.open()

        def broken(_: Connection) -> None:
            raise failure(sqlite3.SQLITE_IOERR_READ)

        with self.assertRaises(SpoolFault):
            await self.reader.do(broken)
        self.assertEqual([], list(await listed(spool, Selection())))
        spool._context.engine.disk = broken
        await spool.maintenance.check_health()
        self.assertEqual("disk I/O error", spool.maintenance.complaint)
        spool._context.engine.disk = lambda _: DiskSpace()
        await spool.maintenance.check_health()
        self.assertEqual("", spool.maintenance.complaint)

    async def test_a_bad_question_is_only_that(self) -> None:
        """It fails with what it raised."""
        await self.open()
        with self.assertRaises(sqlite3.ProgrammingError):
            await self.reader.do(lambda connection: connection.execute("SELECT ?", (1, 2)))

    async def test_a_question_after_the_end(self) -> None:
        """Who asks a spool that is closed hears so, and does not wait for ever."""
        reader = ThreadReader(Engine(), reactor)
        await reader.close()
        with self.assertRaises(SpoolFault):
            await reader.do(lambda _: None)


class ConnectTests(FaultCase, TestCase):
    async def test_a_file_that_is_gone_is_not_made_anew(self) -> None:
        """A disk that is not mounted any more must not become an empty spool."""
        spool = await self.open()
        await self.send(spool)
        Path(self.folder, DATABASE).rename(self.folder / "elsewhere")
        self.disk.fault = failure(sqlite3.SQLITE_IOERR)
        self.assertEqual(451, (await self.send(spool, number=2)).code)
        self.disk.fault = None
        self.assertEqual(451, (await self.send(spool, number=3)).code)
        self.assertIn("unable to open", spool.maintenance.complaint)
        self.assertFalse(Path(self.folder, DATABASE).exists())

    async def test_nothing_is_built_on_a_log_that_nobody_has_synced(self) -> None:
        """Who opens the database has what the log holds written into it first."""
        spool = await self.open()
        await self.send(spool)
        log = self.folder / f"{DATABASE}-wal"
        self.assertGreater(log.stat().st_size, 0)
        self.disk.fault = failure(sqlite3.SQLITE_IOERR_FSYNC)
        await self.send(spool, number=2)
        self.disk.fault = None
        await spool.maintenance.sweep(0.0)  # writes nothing
        self.assertEqual(2, len(self.disk.opened))
        self.assertEqual(0, log.stat().st_size)
        self.assertEqual(1, len(await listed(spool, Selection())))
