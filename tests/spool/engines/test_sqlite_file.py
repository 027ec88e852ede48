"""The file of a spool is as large as what is in it."""

import sqlite3
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from smtprelay.config.model import RetentionSettings, SpoolLimit, SpoolSettings
from smtprelay.model.route import RateLimit
from smtprelay.service.retention import Retention
from smtprelay.spool.engines import sqlite_file
from smtprelay.spool.engines.sqlite import DATABASE
from smtprelay.spool.engines.sqlite_file import compact
from smtprelay.spool.engines.transaction import SpoolFault
from tests.behaviours.spool_stories import done
from tests.spool.engines.test_sqlite import OnDisk

MEGABYTE = 1_000_000


class ShrinkTests(OnDisk, TestCase):
    timeout = 120

    def size(self) -> int:
        return sum(file.stat().st_size for file in Path(self.folder).glob(f"{DATABASE}*"))

    async def burst(self, spool, count: int, size: int = MEGABYTE) -> None:
        """Have ``count`` mails come in before the first of them goes out."""
        for number in range(1, count + 1):
            await self.send(spool, number=number, body=b"Subject: x\r\n\r\n" + b"x" * size)
        for claim in (await spool.claim(count)).claims:
            await spool.settle(claim, done(claim))

    async def keep(self, spool, minutes: int, settings=None) -> None:
        settings = settings or SpoolSettings()
        keeping = Retention(spool.maintenance, settings, self.clock, self.events)
        for _ in range(minutes):
            self.clock.advance(60)
            await keeping.sweep()
            await keeping.shrink()

    def test_after_a_burst(self):
        """Minutes after the last of many mails is delivered, the file is a few megabytes again."""

        async def story(spool) -> None:
            await self.burst(spool, 50)
            self.assertGreater(self.size(), 50 * MEGABYTE)
            await self.keep(spool, 5)
            self.assertLess(self.size(), 6 * MEGABYTE)
            self.assertEqual([], list((await spool.maintenance.check(deep=True)).findings))

        return self.play(story, {"main": RateLimit(concurrency=1000)})

    def test_a_busy_spool_is_left_alone(self):
        """What was free only now may be needed in a moment: nothing is given back at the first look."""

        async def story(spool) -> None:
            await self.burst(spool, 20)
            before = self.size()
            await self.keep(spool, 1)
            self.assertGreaterEqual(self.size(), before)

        return self.play(story, {"main": RateLimit(concurrency=1000)})

    def test_a_step_is_short(self):
        """One step gives back a part, and says how much is left."""

        async def story(spool) -> None:
            await self.burst(spool, 50)
            left = (await spool.maintenance.space()).spare
            while left:
                before = time.monotonic()
                left = await spool.maintenance.shrink(0)
                # A generous bound: the machine may be busy with something else.
                self.assertLess(time.monotonic() - before, 1.0)

        return self.play(story, {"main": RateLimit(concurrency=1000)})

    def test_a_step_that_fails(self):
        """When the disk fails in the middle of a step the writer goes on with mail all the same."""

        async def story(spool) -> None:
            await self.burst(spool, 5)

            def fail(*_: object) -> None:
                raise sqlite3.OperationalError("disk I/O error")

            self.patch(sqlite_file, "_can_shrink", fail)
            with self.assertRaises(SpoolFault):
                await spool.maintenance._writer.do(partial(sqlite_file.shrink, spare=0))
            self.assertEqual(250, (await self.send(spool, number=99)).code)

        return self.play(story, {"main": RateLimit(concurrency=1000)})

    def test_somebody_reads(self):
        """While somebody reads an old state the log cannot be cut off; that is no error, and done later."""

        async def story(spool) -> None:
            await self.burst(spool, 20)
            with closing(sqlite3.connect(f"{self.folder}/{DATABASE}", isolation_level=None)) as other, other:
                other.execute("BEGIN")
                other.execute("SELECT count(*) FROM message").fetchone()
                await self.keep(spool, 3)
                self.assertGreater(self.size(), 10 * MEGABYTE)
                other.execute("COMMIT")
            other.close()
            await self.keep(spool, 2)
            self.assertLess(self.size(), 6 * MEGABYTE)

        return self.play(story, {"main": RateLimit(concurrency=1000)})

    def test_a_spool_that_was_made_without(self):
        """A file of an earlier version keeps its size until it is compacted; then it shrinks by itself."""

        async def story() -> None:
            Path(self.folder).mkdir()
            with closing(sqlite3.connect(f"{self.folder}/{DATABASE}")) as connection, connection:
                connection.execute("CREATE TABLE other (x)")
            connection.close()
            spool = await self.open({"main": RateLimit(concurrency=1000)})
            await self.burst(spool, 20)
            await self.keep(spool, 3)
            self.assertGreater(self.size(), 20 * MEGABYTE)
            await spool.close()
            before, after = compact(Path(self.folder, DATABASE))
            self.assertGreater(before, 20 * MEGABYTE)
            self.assertLess(after, MEGABYTE)
            spool = await self.open({"main": RateLimit(concurrency=1000)})
            await self.send(spool, number=99)
            self.assertEqual([], list((await spool.maintenance.check(deep=True)).findings))
            self.assertEqual(
                2, await spool._reader.do(lambda c: c.execute("PRAGMA auto_vacuum").fetchone()[0])
            )
            await spool.close()

        return Deferred.fromCoroutine(story())

    def test_history_makes_room(self):
        """Before the spool is as large as it may be, history goes, the oldest first; what waits stays."""

        async def story(spool) -> None:
            for number in range(1, 21):
                await self.send(spool, number=number, body=b"\r\n" + b"x" * MEGABYTE)
                self.clock.advance(1)
                for claim in (await spool.claim(1)).claims:
                    await spool.settle(claim, done(claim))
            await self.send(spool, number=99, body=b"\r\n" + b"x" * MEGABYTE)
            settings = SpoolSettings(
                limit=SpoolLimit(bytes=10 * MEGABYTE), retention=RetentionSettings(bodies=86400.0)
            )
            await self.keep(spool, 1, settings)
            checked = await spool.maintenance.check()
            self.assertIn(checked.messages, (1, 2, 3, 4, 5, 6, 7, 8))
            self.assertEqual([], list(checked.findings))
            self.assertEqual(1, (await spool.admin.stats()).states["queued"])

        return self.play(story, {"main": RateLimit(concurrency=1000)}, keeps_bodies=True)
