"""The spool on disk keeps the contract, survives its process, and is nobody else's."""

import sqlite3
import stat
from contextlib import closing
from functools import cache, partial
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from smtprelay.model.queue import Edit, Selection
from smtprelay.model.route import RateLimit, Window
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.spool.engines.sqlite import DATABASE, open_sqlite, prepare_folder
from smtprelay.spool.engines.sqlite_lock import SpoolBusy, SpoolLock
from smtprelay.spool.engines.transaction import SpoolFault
from smtprelay.spool.location import OfflineSpool, SqliteLocation
from smtprelay.spool.tables.schema import MIGRATIONS, SQLITE_TYPES, migrate
from tests.behaviours.spool import SpoolContract
from tests.behaviours.spool_stories import BODY, RATE_LIMITS, SpoolStories, done
from tests.listed import listed
from tests.recording import Recording
from tests.spool import older


class ClockedReactor:
    """The real reactor's threads with a clock that a test moves."""

    def __init__(self, clock):
        self.seconds = clock.seconds

    def __getattr__(self, name):
        return getattr(reactor, name)


@cache
def empty_database() -> bytes:
    """Return the file of a spool without mail: to make its tables takes longer than most tests."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript("PRAGMA page_size = 16384; PRAGMA auto_vacuum = INCREMENTAL")
        migrate(connection, "0.0", SQLITE_TYPES)
        connection.commit()
        return connection.serialize()


class OnDisk(SpoolStories):
    """Opens spools in a folder of this test's own."""

    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1000)
        self.folder = self.mktemp()
        self.events = Recording()

    async def open(self, rate_limits=RATE_LIMITS, *, reserve=0, **opening):
        terms = SpoolOptions(rate_limits=rate_limits, events=self.events, **opening)
        return await open_sqlite(self.folder, terms, reactor=ClockedReactor(self.clock), reserve=reserve)

    def play(self, story, rate_limits=RATE_LIMITS, **opening):
        async def tell() -> None:
            spool = await self.open(rate_limits, **opening)
            try:
                await story(spool)
            finally:
                await spool.close()

        return Deferred.fromCoroutine(tell())


class SqliteTests(OnDisk, SpoolContract, TestCase):
    """The contract."""

    def setUp(self):
        super().setUp()
        (prepare_folder(self.folder) / DATABASE).write_bytes(empty_database())


class SqliteFileTests(OnDisk, TestCase):
    """What only a spool on disk can do, or get wrong."""

    def test_mail_survives_the_process(self):
        """What was accepted is there when the spool is opened again, what was in flight is uncertain."""

        async def story() -> None:
            spool = await self.open()
            await self.send(spool, number=1)
            await self.send(spool, number=2)
            await spool.claim(limit=1)
            await spool.close()
            again = await self.open()
            self.assertEqual(1, await again.recover())
            (waited,) = (await again.claim()).claims
            await again.settle(waited, done(waited))
            (claim,) = (await again.claim()).claims
            self.assertEqual((False, True), (waited.uncertain, claim.uncertain))
            self.assertEqual(BODY, await again.body(claim.delivery).whole())
            await again.close()

        return Deferred.fromCoroutine(story())

    def test_orphans_are_swept(self):
        """The pieces of a message that never came whole are gone after recovery."""

        async def story() -> None:
            spool = await self.open()
            incoming = spool.incoming(self.draft("a@example.com"), lambda _h, _s: [])
            await incoming.write(b"x" * 600_000)
            await spool.close()
            again = await self.open()
            await again.recover()
            await again.close()
            with closing(sqlite3.connect(f"{self.folder}/{DATABASE}")) as connection, connection:
                self.assertEqual((0,), connection.execute("SELECT count(*) FROM chunk").fetchone())

        return Deferred.fromCoroutine(story())

    def test_a_second_opener_is_refused_by_name(self):
        """While one process has the spool another is told which process that is."""

        async def story() -> None:
            spool = await self.open()
            with self.assertRaises(SpoolBusy) as caught:
                await self.open()
            self.assertRegex(str(caught.exception), r"in use by process \d+")
            await spool.close()
            await (await self.open()).close()

        return Deferred.fromCoroutine(story())

    def test_nobody_else_may_read_it(self):
        """Folder and files are for the owner alone, whatever the umask."""

        async def story() -> None:
            spool = await self.open()
            await self.send(spool)
            await spool.close()
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in Path(self.folder).iterdir()}
            self.assertEqual({0o600}, set(modes.values()), modes)
            self.assertEqual(0o700, stat.S_IMODE(Path(self.folder).stat().st_mode))

        return Deferred.fromCoroutine(story())

    def test_a_newer_spool_is_left_alone(self):
        """A spool that a later version wrote is refused with both versions, unchanged."""

        async def story() -> None:
            await (await self.open()).close()
            with closing(sqlite3.connect(f"{self.folder}/{DATABASE}")) as connection, connection:
                connection.execute("INSERT INTO schema_version (version) VALUES (99)")
            with self.assertRaises(SpoolFault) as caught:
                await self.open()
            self.assertIn("version 99", str(caught.exception))

        return Deferred.fromCoroutine(story())

    def test_rubbish_instead_of_a_database(self):
        """A file that is no database is named, and not overwritten."""

        async def story() -> None:
            Path(self.folder).mkdir()
            Path(self.folder, DATABASE).write_bytes(b"rubbish" * 1000)
            with self.assertRaises(SpoolFault) as caught:
                await self.open()
            self.assertIn(DATABASE, str(caught.exception))
            self.assertEqual(b"rubbish" * 1000, Path(self.folder, DATABASE).read_bytes())

        return Deferred.fromCoroutine(story())

    def test_many_share_one_commit(self):
        """Operations that come together are committed together, each with its own result."""

        async def story() -> None:
            spool = await self.open({"main": RateLimit(concurrency=1000)})
            sending = [Deferred.fromCoroutine(self.send(spool, number=n)) for n in range(1, 101)]
            replies = [await each for each in sending]
            self.assertEqual(100, len({reply.text for reply in replies}))
            commits = [fields["operations"] for fields in self.events.of("spool.commit")]
            self.assertLess(len(commits), 50)
            await spool.close()

        return Deferred.fromCoroutine(story())

    def test_one_bad_operation_harms_no_other(self):
        """When one message of a group cannot be stored, the others are, and its client keeps it."""

        async def story() -> None:
            spool = await self.open()
            first = Deferred.fromCoroutine(self.send(spool, number=1))
            second = Deferred.fromCoroutine(self.send(spool, number=1))
            third = Deferred.fromCoroutine(self.send(spool, number=2))
            self.assertEqual(250, (await first).code)
            reply = await second
            self.assertEqual((451, "4.3.0"), (reply.code, reply.enhanced))
            self.assertEqual(250, (await third).code)
            self.assertEqual(2, len(await listed(spool, Selection())))
            await spool.close()

        return Deferred.fromCoroutine(story())

    def test_a_full_disk_is_452(self):
        """When there is no room the client is asked to come again, and the relay goes on."""

        async def story() -> None:
            spool = await self.open()
            await self.send(spool, number=1)
            with closing(sqlite3.connect(f"{self.folder}/{DATABASE}")) as other, other:
                pages = other.execute("PRAGMA page_count").fetchone()[0]
            await spool._writer.do(lambda tx: tx.execute(f"PRAGMA max_page_count = {pages}").fetchall())
            reply = await self.send(spool, number=2, body=BODY + b"x" * 400_000)
            self.assertEqual((452, "4.3.1"), (reply.code, reply.enhanced))
            await spool._writer.do(lambda tx: tx.execute("PRAGMA max_page_count = 1000000").fetchall())
            self.assertEqual(250, (await self.send(spool, number=3)).code)
            self.assertEqual(2, len(await listed(spool, Selection())))
            await spool.close()

        return Deferred.fromCoroutine(story())

    def test_a_spool_of_each_older_version(self):
        """It is brought up to date when it is opened, and works; what was deleted is that."""

        async def corrected(spool, have: int) -> None:
            (claim,) = (await spool.claim()).claims
            self.assertEqual(
                ("OLD", 5, None), (claim.delivery.message, claim.delivery.size, claim.delivery.shape)
            )
            self.assertTrue(await spool.settle(claim, done(claim)))
            self.assertEqual(250, (await self.send(spool)).code)
            (claim,) = (await spool.claim()).claims
            self.assertTrue(await spool.settle(claim, done(claim)))
            if have < older.DELETED:
                self.assertEqual(older.CORRECTED, await older.deletions(spool))
            self.assertEqual([], list((await spool.maintenance.check()).findings))

        async def story() -> None:
            for have in range(1, len(MIGRATIONS)):
                self.folder = self.mktemp()
                with closing(sqlite3.connect(prepare_folder(self.folder) / DATABASE)) as old:
                    older.fill(old.execute, {**SQLITE_TYPES, "keyed": ""}, have)
                    old.commit()
                await self.play(partial(corrected, have=have))

        return Deferred.fromCoroutine(story())

    def test_mail_in_the_lanes_of_an_older_version(self):
        """All of it is delivered: queued, deferred, under way, and in a blocked lane."""

        async def story(spool) -> None:
            self.assertEqual(older.DELIVERED, await older.deliver_lanes(spool, self.clock))
            self.assertEqual([], list((await spool.maintenance.check()).findings))

        self.folder = self.mktemp()
        with closing(sqlite3.connect(prepare_folder(self.folder) / DATABASE)) as old:
            older.fill_lanes(old.execute, SQLITE_TYPES)
            old.commit()
        return self.play(story, older.RATES)

    def test_another_rate_after_a_restart(self):
        """What had no room in the old rate does not wait until it would have had some."""

        async def story() -> None:
            for count, begun in ((5, 1), (9, 1)):
                windows = (Window(count=count, seconds=60.0, unit="recipients"),)
                spool = await self.open({"main": RateLimit(windows=windows)})
                await spool.recover()
                for number in (1, 2) if count == 5 else ():
                    await self.send(spool, *(f"a{each}@example.com" for each in range(4)), number=number)
                claims = (await spool.claim()).claims
                self.assertEqual(begun, len(claims))
                self.assertEqual([], list((await spool.claim()).claims))
                await spool.settle(claims[0], done(claims[0]))
                await spool.close()

        return Deferred.fromCoroutine(story())

    def test_what_is_kept_for_a_full_disk(self):
        """The reserve is there from the start, and the log has at most half of it and one commit."""

        async def story() -> None:
            spool = await self.open(reserve=4 << 20)
            self.assertEqual(4 << 20, Path(self.folder, "reserve").stat().st_size)
            for number in range(1, 21):
                await self.send(spool, number=number, body=BODY + b"x" * 200_000)
            self.assertLess(Path(self.folder, f"{DATABASE}-wal").stat().st_size, (2 << 20) + 500_000)
            await spool.close()

        return Deferred.fromCoroutine(story())

    def test_offline_looks_and_changes(self):
        """Without a daemon the queue can be seen and edited; with one, only seen."""

        async def story() -> None:
            spool = await self.open()
            await self.send(spool)
            offline = OfflineSpool(SqliteLocation(Path(self.folder)))
            with offline.opened(changing=False) as seen:
                (line,) = (await seen.admin.search(Selection())).deliveries
            with self.assertRaises(SpoolBusy), offline.opened(changing=True):
                pass
            await spool.close()
            with offline.opened(changing=True) as changed:
                edited = await changed.admin.edit(Selection(ids=(line.id,)), Edit(action="hold", who="o"))
            self.assertEqual([line.id], edited.ids)
            self.assertEqual("held", (await seen.admin.show(line.message))[0].summary.state)
            self.assertEqual(["main"], [lane.provider for lane in (await seen.admin.stats()).lanes])
            offline.close()

        return Deferred.fromCoroutine(story())

    def test_offline_needs_a_spool(self):
        """A folder without a spool is named; none is made."""
        for changing in (False, True):
            offline = OfflineSpool(SqliteLocation(Path(self.folder)))
            with self.assertRaises(FileNotFoundError), offline.opened(changing=changing):
                pass
        self.assertFalse(Path(self.folder).exists())

    def test_offline_that_cannot_be_read(self):
        """What cannot be opened is let go of: the relay may start."""

        class Unreadable(SqliteLocation):
            def reading(self):
                raise SpoolFault("the file is damaged")

        folder = Path(self.mktemp())
        for opening in ({"new": True}, {"keep": True}):
            try:
                OfflineSpool(Unreadable(folder), **opening)
            except SpoolFault:  # as long as somebody has this, somebody has what failed
                SpoolLock(folder).release()

    def test_claims_settle_after_the_fact(self):
        """A claim that an operator's recovery took away cannot be settled any more."""

        async def story(spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            await spool.recover()
            self.assertFalse(await spool.settle(claim, done(claim)))

        return self.play(story)
