"""
Promises 1 and 2 on a disk that fails in every way, in the long form of :mod:`tests.process.test_faults`.

The counts are printed, and so is what the dice gave, to be thrown again with ``FAULTS_SEED``.
"""

import errno
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.faults.shim import READS, SIZES, SYNCS, WRITES, Shim
from tests.process.siege import Siege
from tests.process.troubles import SiegeStage

MAILS = 600
CLIENTS = 20

#: What fails, how, and how often; several rounds of each.
WEATHER = (
    (errno.ENOSPC, 1000, WRITES | SIZES),
    (errno.ENOSPC, 100, WRITES | SYNCS | SIZES),
    (errno.EIO, 1000, SYNCS),
    (errno.EIO, 300, SYNCS),
    (errno.EIO, 30, WRITES | SYNCS | SIZES),
    (errno.EIO, 1000, WRITES | SYNCS | SIZES | READS),
    (errno.EIO, 100, READS),
)
ROUNDS = 4


def seeded() -> int:
    """Return the seed of this run."""
    return int(os.environ.get("FAULTS_SEED", "0")) or random.randrange(1, 1 << 32)


class DiskTests(SiegeStage, TestCase):
    timeout = 1800

    async def besieged(self, seed: int, spool: str = "path: spool") -> tuple[Siege, Shim]:
        siege = await self.siege(seed, mails=MAILS, clients=CLIENTS, spool=spool)
        shim = Shim(self.folder, self.folder / "spool")
        siege.relay.environ = shim.environ
        return siege, shim

    async def tell(self, siege: Siege, tally, seed: int, shim: Shim) -> None:
        told = self.assert_kept(siege, tally, seed)
        sys.stdout.write(f"\n{told}\n{shim.failed} calls failed\nFAULTS_SEED={seed}\n")
        self.assertEqual(tally.accepted, siege.mails, told)

    async def test_every_weather(self) -> None:
        """Writes, syncs and reads fail with ENOSPC and EIO, never and always and now and then."""
        seed = seeded()
        siege, shim = await self.besieged(seed)

        async def weather(siege: Siege) -> None:
            rounds = list(WEATHER * ROUNDS)
            siege.dice.shuffle(rounds)
            for each in rounds:
                await siege.wait(0.2, 1.0)
                shim.fail(*each)
                await siege.wait(0.5, 2.5)
                await siege.is_ready()
                shim.heal()

        tally = await siege.endure(weather)
        await self.tell(siege, tally, seed, shim)
        self.assertGreater(shim.failed, 100)

    async def test_a_kill_after_a_sync_that_failed(self) -> None:
        """What was written then may be read again, and nothing that is built on it is lost."""
        seed = seeded()
        siege, shim = await self.besieged(seed)

        async def weather(siege: Siege) -> None:
            for each in WEATHER * 2:
                await siege.wait(0.2, 1.0)
                shim.fail(*each)
                await siege.wait(0.1, 1.5)
                await siege.relay.kill()
                shim.heal()
                await siege.relay.start()

        tally = await siege.endure(weather)
        await self.tell(siege, tally, seed, shim)

    async def test_a_disk_that_is_full(self) -> None:
        """Somebody else fills it to the last byte, again and again, and makes room."""
        seed = seeded()
        siege, shim = await self.besieged(seed, "path: spool, limit: {free: 0%}")
        spool = self.folder / "spool"
        spool.mkdir(mode=0o700)
        small = mounted(spool)
        if small:
            # Before the folder goes, and after the relay.
            self.addCleanup(subprocess.run, ["umount", "--lazy", spool], check=True)
        sys.stdout.write(f"\n{'a tmpfs of 64 MiB' if small else 'the shim'}\n")

        async def weather(siege: Siege) -> None:
            for _ in range(8):
                await siege.wait(0.5, 2.0)
                if small:
                    fill(spool / "somebody's")
                else:
                    shim.fail(errno.ENOSPC, 1000, WRITES | SIZES)
                await siege.until_refused(5)
                await siege.is_ready()
                shim.heal()
                (spool / "somebody's").unlink(missing_ok=True)

        tally = await siege.endure(weather)
        await self.tell(siege, tally, seed, shim)
        self.assertIn("452 4.3.1", siege.refused)


def mounted(folder: Path) -> bool:
    """Mount a small disk there, if we may."""
    command = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", folder]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def fill(file: Path) -> None:
    """Leave no byte free on the disk of ``file``."""
    try:
        with file.open("wb", buffering=0) as filling:
            while filling.write(bytes(min(65536, shutil.disk_usage(file.parent).free or 4096))):
                pass
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
