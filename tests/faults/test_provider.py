"""
Promises 1 and 2 while a provider goes mad; :mod:`tests.process.crash.test_faults` has the short form.
"""

import sys

from twisted.trial.unittest import TestCase

from tests.faults.test_disk import seeded
from tests.process.crash.siege import Siege
from tests.process.crash.troubles import SiegeStage, mad_provider

#: How often it goes mad and is killed, and the mail that comes each time.
LIVES = 6
MAILS = 80


class ProviderTests(SiegeStage, TestCase):
    timeout = 1800

    async def test_a_long_madness(self) -> None:
        """The relay is killed besides, now and then: all mail arrives, and once."""
        seed = seeded()
        siege = await self.siege(seed, mails=MAILS, clients=20)

        async def madness(siege: Siege) -> None:
            for _ in range(LIVES):
                await mad_provider(siege, rounds=2)
                siege.add_more(MAILS)
                await siege.wait(0.0, 0.5)
                await siege.relay.kill()
                await siege.relay.start()

        tally = await siege.endure(madness)
        told = self.assert_kept(siege, tally, seed)
        sys.stdout.write(f"\n{told}\n{dict(siege.madness)}\nFAULTS_SEED={seed}\n")
        self.assertEqual((tally.accepted, tally.delivered >= siege.mails), (siege.mails, True), told)
