"""
Promises 1, 2 and 4 while the clock of the relay's machine jumps two days forward and back.

The provider's clock stands: while the relay's is wrong its signatures are refused, which blocks the lane and
bounces nothing.
"""

import socket
import sys

from twisted.trial.unittest import TestCase

from tests.faults.shim import Shim
from tests.faults.test_disk import seeded
from tests.process.crash.siege import Siege
from tests.process.crash.troubles import SiegeStage
from tests.process.program import eventually
from tests.process.relay_process import message
from tests.process.spool.test_nodes import NodesCase

DAYS = 2 * 86400


class ClockTests(SiegeStage, TestCase):
    timeout = 900

    async def test_two_days_either_way(self) -> None:
        """Mail is accepted all the time, none expires, and all goes as soon as the clock is right."""
        seed = seeded()
        siege = await self.siege(seed, mails=300, clients=10)
        shim = Shim(self.folder, self.folder / "spool")
        siege.relay.environ = shim.environ

        async def jumps(siege: Siege) -> None:
            for put in (DAYS, 0, -DAYS, 0, DAYS, -DAYS, 0):
                await siege.wait(1.0, 4.0)
                shim.put_clock(put)

        tally = await siege.endure(jumps, "--probe-after", "1")
        told = self.assert_kept(siege, tally, seed)
        sys.stdout.write(f"\n{told}\nFAULTS_SEED={seed}\n")
        self.assertEqual((tally.accepted, tally.delivered), (300, 300), told)
        self.assertEqual(siege.refused.total(), 0, told)
        self.assertIn(b"the system clock was set back by", siege.relay.life.out)


class NodeTests(NodesCase, TestCase):
    async def test_hours_beside_the_database(self) -> None:
        """Mail that a node defers goes again at its time by the database's clock, and is as old."""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            [node] = self.to_smarthost(nobody.getsockname()[1], 1)
            shim = Shim(self.folder, self.folder / "spool")
            shim.put_clock(2 * 3600)
            node.environ = shim.environ
            await self.start([node])
            self.assertIn("250 2.0.0", await node.send(message("late"), "user@example.com"))
            await eventually(lambda: len(self.tables.ask("SELECT 1 FROM attempt")) > 2, "a third attempt")
            shim.put_clock(-DAYS)
            tried = len(self.tables.ask("SELECT 1 FROM attempt"))
            await eventually(lambda: len(self.tables.ask("SELECT 1 FROM attempt")) > tried, "one more")
            [(age,)] = self.tables.ask("SELECT extract(epoch FROM clock_timestamp()) - received FROM message")
            self.assertLess(abs(age), 3600)
