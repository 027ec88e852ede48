"""
Promises 1 and 2 under ``kill -9``, in the long form of :mod:`tests.process.test_crash`.

The counts are printed, and so is what the dice gave, to be thrown again with ``CRASH_SEED``.
"""

import os
import random
import sys

from twisted.trial.unittest import TestCase

from tests.process.relay_process import RelayProcess
from tests.process.stage import Stage
from tests.process.storm import Kill, Storm
from tests.process.wrapped_relay import POINTS

MAILS = 2000
CLIENTS = 50

#: Kills at no point in particular, and at each point.
ANYWHERE = 32
AT_EACH_POINT = 5


class StormTests(Stage, TestCase):
    timeout = 1800

    async def test_a_long_storm(self) -> None:
        """After some eighty kills, each commit point several times, every accepted mail arrived once."""
        seed = int(os.environ.get("CRASH_SEED", "0")) or random.randrange(1, 1 << 32)
        dice = random.Random(seed)
        kills = [Kill(point, dice.randint(1, 4)) for point in POINTS for _ in range(AT_EACH_POINT)]
        kills += [Kill(after=dice.uniform(0.0, 1.0)) for _ in range(ANYWHERE)]
        dice.shuffle(kills)
        acs = await self.fake_acs()
        relay = self.ending(RelayProcess.to_acs(self.folder, acs, accept_on="succeeded"))
        tally = await Storm(relay, acs, mails=MAILS, clients=CLIENTS).rage(kills)
        sys.stdout.write(f"\n{tally}\nCRASH_SEED={seed}\n")
        self.assertEqual((tally.lost, tally.duplicated, tally.spoilt), ([], [], []), f"CRASH_SEED={seed}")
        self.assertEqual(tally.left_over, 0)
        self.assertGreaterEqual(tally.accepted, MAILS)
        self.assertEqual(set(tally.reached), {*POINTS, "any moment"})
