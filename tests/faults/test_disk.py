"""
Promises 1 and 2 on a disk that fails in every way; :mod:`tests.process.crash.test_faults` has the short form.

The counts are printed, and so is what the dice gave, to be thrown again with ``FAULTS_SEED``.
"""

import errno
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.faults.shim import READS, SIZES, SYNCS, WRITES, Shim
from tests.process.crash.siege import Siege
from tests.process.crash.troubles import SiegeStage
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess, message
from tests.process.spool_tables import name_of

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

#: The text of a mail that is larger than a piece of the spool.
LARGE = "\r\n".join("a line of a large mail, to fill it" for _ in range(12_000))


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

    def small_disk(self) -> tuple[Path, bool]:
        """Return the folder of the spool, and whether it is a small disk of its own."""
        spool = self.folder / "spool"
        spool.mkdir(mode=0o700)
        small = mounted(spool)
        if small:
            # Before the folder goes, and after the relay.
            self.addCleanup(subprocess.run, ["umount", "--lazy", spool], check=True)
        return spool, small

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
        spool, small = self.small_disk()
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

    async def test_delivery_on_a_disk_that_is_full(self) -> None:
        """All that waits goes out while no byte is free, after a restart, too; then mail is taken."""
        siege = await self.siege(1, mails=0, clients=1, spool="path: spool, limit: {free: 0%}")
        spool, small = self.small_disk()
        if not small:
            sys.stdout.write("\nno right to mount a small disk: not tried\n")
            return
        relay, greedy = await siege.relay.start(), spool / "somebody's"
        for restarted in ("not", "after a kill", "after it had stopped before"):
            await self.have_mail_wait(siege)
            if restarted == "after it had stopped before":
                await relay.stop()
                fill(greedy)
                await relay.start()
            else:
                fill(greedy)
            self.assertLess(free(spool), 6e6)
            await eventually(lambda: refuses(relay), "mail that is refused")
            if restarted == "after a kill":
                await relay.kill()
                fill(greedy)
                await relay.start()
            waiting = len(await relay.queued())
            await siege.acs.come_to_its_senses()
            begun = reactor.seconds()
            await eventually(lambda: is_empty(relay), "an empty queue", patience=240.0)
            self.assertFalse(await siege.is_ready())
            self.assertIn("452 4.3.1", await relay.send(message("refused"), "b@example.com"))
            self.assertLess(free(spool), 6e6)
            full = f"{greedy.stat().st_size / 1e6:.1f} MB of somebody else, {free(spool) / 1e6:.1f} MB free"
            seconds = reactor.seconds() - begun
            sys.stdout.write(f"\nrestarted: {restarted}; {waiting} went in {seconds:.1f} s; {full}\n")
            greedy.unlink()
            await eventually(siege.is_ready, "a relay that is ready again")
        self.assertIn("250 2.0.0", await relay.send(message("taken"), "a@example.com"))
        await eventually(lambda: is_empty(relay), "an empty queue")
        arrived = Counter(
            {name_of(each): times for (each, *_), times in (await siege.acs.deliveries()).items()}
        )
        self.assertEqual({name: arrived[name] for name in siege.accepted}, dict.fromkeys(siege.accepted, 1))
        await relay.stop()
        self.assertEqual(siege.faults_of_the_spool(), [])

    async def have_mail_wait(self, siege: Siege) -> None:
        """Have the provider refuse, and mail wait for it."""
        await siege.acs.go_mad("answers", status=503, headers={"Retry-After": "2"})
        for number in range(60):
            text = "x" * 60 if number % 10 else LARGE
            name = f"{len(siege.accepted)}.1"
            reply = await siege.relay.send(
                message("waits", text=text, number=name), f"user{number}@example.com"
            )
            self.assertIn("250 2.0.0", reply)
            siege.accepted.add(name)


async def refuses(relay: RelayProcess) -> bool:
    """Hand a large mail in, and say whether the relay found no room for it."""
    return (await relay.send(message("too much", text=LARGE), "c@example.com")).startswith("452 4.3.1")


async def is_empty(relay: RelayProcess) -> bool:
    """Say whether nothing waits."""
    return not await relay.queued()


def free(folder: Path) -> int:
    """Return the free bytes of a disk."""
    return shutil.disk_usage(folder).free


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
