"""
Promises 1 and 2 while the disk fails or the provider goes mad; ``make faults`` runs the long form.

A limit on the size of files makes a disk fail without any right or tool: what would be written beyond it
is refused by the kernel, in the running relay, and is taken again when the limit is.
"""

import random

from twisted.trial.unittest import TestCase

from tests.process.crash.siege import Siege
from tests.process.crash.troubles import SiegeStage, failing_disk, mad_provider
from tests.process.program import eventually
from tests.process.relay_process import message


class DiskTests(SiegeStage, TestCase):
    async def test_a_disk_that_cannot_be_written(self) -> None:
        """Clients hear 451, the relay is not ready, and both are well again by themselves."""
        siege = await self.siege(1, mails=1, clients=1)
        relay = await siege.relay.start()
        self.assertIn("250 2.0.0", await relay.send(message("before"), "a@example.com"))
        await eventually(siege.is_ready, "a relay that is ready")
        siege.limit_files(0)
        self.assertIn("451 4.3.0", await relay.send(message("refused"), "b@example.com"))
        self.assertFalse(await siege.is_ready())
        self.assertRegex(str(siege.unready), r"\[-\]spool .*disk I/O error")
        siege.limit_files()
        await eventually(siege.is_ready, "a relay that is ready again")
        self.assertIn("250 2.0.0", await relay.send(message("after"), "c@example.com"))
        await eventually(lambda: arrived(siege, 2), "two mails")

    async def test_a_disk_that_fails_again_and_again(self) -> None:
        """Nothing that got its 250 is lost, nothing comes twice, nothing half written stays."""
        seed = random.randrange(1, 1 << 32)
        siege = await self.siege(seed, mails=150, clients=10)
        tally = await siege.endure(failing_disk)
        told = self.assert_kept(siege, tally, seed)
        self.assertEqual(tally.accepted, siege.mails, told)
        self.assertGreater(siege.refused.total(), 0, told)

    async def test_a_full_spool(self) -> None:
        """At its limit mail is refused at MAIL, what waits goes out, and there is room again by itself."""
        siege = await self.siege(1, mails=1, clients=1, spool="path: spool, limit: {deliveries: 3}")
        relay = await siege.relay.start()
        await siege.acs.script("answers", times=9, status=429, headers={"Retry-After": "3"})
        for name in "abc":
            self.assertIn("250 2.0.0", await relay.send(message(name), f"{name}@example.com"))
        talk = await relay.greet()
        self.assertIn("452 4.3.1", await talk.say("MAIL FROM:<app@example.org>"))
        self.assertFalse(await siege.is_ready())
        self.assertIn("[-]spool full: 3 deliveries wait, the limit is 3", siege.unready)
        self.assertEqual(await relay.metric("smtprelay_spool_full"), 1)
        self.assertEqual(
            await relay.metric(
                'smtprelay_smtp_rejections_total{listener="lan",rule="spool-full",stage="mail"}'
            ),
            1,
        )
        await eventually(siege.is_ready, "room")
        self.assertIn("250 2.1.0", await talk.say("MAIL FROM:<app@example.org>"))
        await talk.close()


class ProviderTests(SiegeStage, TestCase):
    async def test_a_provider_that_goes_mad(self) -> None:
        """Whatever it does, all mail arrives, and once, for it knows an operation again."""
        seed = random.randrange(1, 1 << 32)
        siege = await self.siege(seed, mails=60, clients=5)
        tally = await siege.endure(mad_provider)
        told = self.assert_kept(siege, tally, seed)
        self.assertEqual((tally.accepted, tally.delivered), (60, 60), told)
        self.assertGreater(siege.madness.total(), 0)


async def arrived(siege: Siege, count: int) -> bool:
    """Say whether the provider has so many mails."""
    return len(await siege.acs.mails()) == count
