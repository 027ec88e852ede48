"""What is kept for delivery on a full disk: when it is there, when it is given up, and for whom."""

import errno
import os
import sqlite3
import stat
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smtprelay.model.attempt import Claim
from smtprelay.spool.engines.sqlite import DATABASE
from smtprelay.spool.engines.sqlite_lock import SpoolLock
from smtprelay.spool.engines.sqlite_reserve import GONE, Reserve
from smtprelay.spool.engines.transaction import SpoolFault
from smtprelay.spool.receive.capacity import FULL
from smtprelay.spool.spool import QueueSpool
from tests.behaviours.spool_stories import BODY, done
from tests.spool.engines.test_sqlite import OnDisk
from tests.spool.test_faults import LARGE, Disk, FaultCase, failure

MIB = 1 << 20


class ReserveTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.file = self.folder / "reserve"
        self.free = 100 * MIB

    def reserve(self, whole: int = 1000 * MIB) -> Reserve:
        def system(_: Path) -> Any:
            return SimpleNamespace(f_frsize=1, f_blocks=whole, f_bavail=self.free)

        return Reserve(self.folder, MIB, system)

    def test_it_has_real_blocks(self) -> None:
        """It takes its room from the disk, not only a size, and nobody else may read it."""
        self.reserve().review(troubled=False)
        found = self.file.stat()
        self.assertGreaterEqual(found.st_blocks * 512, MIB)
        self.assertEqual(0o600, stat.S_IMODE(found.st_mode))

    def test_a_small_disk(self) -> None:
        """It takes a sixteenth of it at most."""
        self.assertEqual(MIB // 16, self.reserve(MIB).size)

    def test_when_it_stays_and_when_it_goes(self) -> None:
        """It is given up where writing fails and less is free, and comes back with twice its size."""
        reserve = self.reserve()
        steps = [
            # free, whether writing fails, whether it is kept then
            (2 * MIB - 1, False, False),
            (2 * MIB, False, True),
            (0, False, True),
            (MIB, True, True),
            (MIB - 1, True, False),
            (MIB, True, False),
            (2 * MIB - 1, False, False),
            (2 * MIB, False, True),
        ]
        for free, troubled, kept in steps:
            self.free = free
            reserve.review(troubled=troubled)
            self.assertEqual((kept, kept), (reserve.kept, reserve.kept and self.file.exists()), free)
            if not kept:
                reserve.give_up()
                self.assertFalse(self.file.exists())

    def test_half_of_it_is_none(self) -> None:
        """What a dead process had of it is taken anew, as a whole."""
        self.file.write_bytes(b"x" * 1000)
        self.reserve().review(troubled=False)
        self.assertEqual(MIB, self.file.stat().st_size)

    def test_a_disk_that_cannot_be_taken_from(self) -> None:
        """Without room after all nothing stays behind; where there is no such thing it is not missed."""
        for error, kept in ((errno.ENOSPC, False), (errno.EOPNOTSUPP, True)):

            def refuse(*_: object, error: int = error) -> None:
                raise OSError(error, os.strerror(error))

            self.patch(os, "posix_fallocate", refuse)
            reserve = self.reserve()
            reserve.review(troubled=False)
            self.assertEqual((kept, False), (reserve.kept, self.file.exists()))

    def test_a_lock_without_a_block(self) -> None:
        """Who cannot write his name into the lock has it all the same."""

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        self.patch(os, "pwrite", refuse)
        SpoolLock(self.folder).release()


class Scripted(Reserve):
    """
    Its disk is well as soon as it is given up.

    :ivar stays: whether it is kept.
    :ivar order: what has happened.
    """

    def __init__(self, disk: Disk) -> None:
        self.kept = self.stays = True
        self.disk = disk
        self.order: list[str] = []

    def review(self, *, troubled: bool) -> None:
        if isinstance(self.disk.fault, OSError):
            raise self.disk.fault
        self.kept = self.stays or not troubled

    def give_up(self) -> None:
        self.disk.fault = None
        self.order.append("given up")


class FullDiskTests(FaultCase, TestCase):
    async def fill(self) -> tuple[QueueSpool, Claim, Scripted]:
        """Return a spool with a claim, whose disk is full since then, and its reserve."""
        spool = await self.open()
        reserve = spool._context.engine.reserve = Scripted(self.disk)
        await self.send(spool, number=1)
        (claim,) = (await spool.claim()).claims
        self.disk.fault, reserve.stays = failure(sqlite3.SQLITE_FULL), False
        self.assertEqual(452, (await self.send(spool, number=2)).code)
        return spool, claim, reserve

    async def test_delivery_goes_on(self) -> None:
        """With the reserve given up no mail is taken, what is there goes out, and then all is as before."""
        spool, claim, reserve = await self.fill()
        with self.assertRaises(SpoolFault):
            await spool.settle(claim, done(claim))
        await spool.maintenance.check_health()
        self.assertEqual((f"full: {GONE}", FULL), (spool.maintenance.complaint, spool.refusal()))
        self.assertTrue(await spool.settle(claim, done(claim)))
        self.assertEqual(452, (await self.send(spool, number=3)).code)
        reserve.stays = True
        await spool.maintenance.check_health()
        self.assertEqual(
            ("", 1, 1), (spool.maintenance.complaint, self.told("spool.full"), self.told("spool.accepting"))
        )
        self.assertEqual(250, (await self.send(spool, number=4)).code)

    async def test_mail_on_its_way_does_not_get_it(self) -> None:
        """What was asked of the disk before has failed before there is room that is not for it."""
        spool, _, reserve = await self.fill()
        slow = Event()
        self.addCleanup(slow.set)
        late = [spool._writer.do(lambda _: slow.wait())]
        late += [Deferred.fromCoroutine(self.send(spool, number=number)) for number in range(3, 6)]
        for each in late[1:]:
            each.addCallback(lambda reply: reserve.order.append(str(reply.code)))
        looking = Deferred.fromCoroutine(spool.maintenance.check_health())
        for _ in range(3):  # the reader has one thread
            await self.reader.do(lambda _: None)
        self.assertEqual([], reserve.order)
        slow.set()
        await looking
        self.assertEqual(["452", "452", "452", "given up"], reserve.order)
        self.failureResultOf(late[0], SpoolFault)

    async def test_a_large_body_on_its_way_does_not_get_it(self) -> None:
        """Of a body whose first pieces are stored nothing more is, and what is there is dropped."""
        spool = await self.open()
        draft = self.draft("a@example.com", number=9)
        incoming = spool.incoming(draft, lambda _h, _s: [self.planned(draft)])
        await incoming.write(LARGE)
        spool._context.capacity.refuse_all(GONE)
        self.assertIsNone(incoming.write(LARGE))
        self.assertEqual(FULL, await incoming.finish())
        await spool.recover()
        self.assertEqual(0, await self.pieces())

    async def test_a_reserve_that_cannot_be_looked_at(self) -> None:
        """A disk that fails in another way is told as that, and the look ends."""
        spool, _, reserve = await self.fill()
        self.disk.fault = OSError(errno.EIO, "the disk is gone")
        await spool.maintenance.check_health()
        self.assertEqual(([], "[Errno 5] the disk is gone"), (reserve.order, spool.maintenance.complaint))


class LogTests(OnDisk, TestCase):
    async def test_the_log_keeps_its_room_on_a_full_disk(self) -> None:
        """It is not cut off with the reserve gone, for its blocks are what delivery lives on."""
        spool = await self.open(reserve=16 * MIB)
        self.addCleanup(spool.close)
        await self.send(spool, body=BODY + b"x" * 2_000_000)
        log = Path(self.folder, f"{DATABASE}-wal")
        assert spool._context.engine.reserve is not None
        for kept in (False, True):
            spool._context.engine.reserve.kept = kept
            await spool.maintenance.shrink(0)
            self.assertEqual(kept, log.stat().st_size == 0)
