"""
A configuration that changes every second while many clients send.

:mod:`tests.process.service.test_reload` has the short form.
"""

import sys

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from smtprelay.cli.exit_codes import CONFIG, CliError
from tests.faults.test_disk import seeded
from tests.process.service.changing_relay import CHOICES, ChangingStage

SECONDS = 60
CLIENTS = 50

#: Reloads before the memory is measured first, and until the end; how much more it may be then, KiB.
WARM_UP = 50
RELOADS = 1000
TOLERANCE = 6 * 1024


class ReloadTests(ChangingStage, TestCase):
    timeout = 900

    async def test_a_minute(self) -> None:
        """No session is dropped, no mail is lost or sent twice, and every reply follows from some rules."""
        seed = seeded()
        changing = await self.changing(seed)
        sending = changing.send(CLIENTS)
        for number in range(SECONDS):
            await deferLater(reactor, 1.0)
            await changing.change(list(CHOICES)[number % len(CHOICES)])
        good = changing.relay.config.read_text()
        changing.relay.config.write_text(good.replace("via: [", "via: [none, "))
        with self.assertRaises(CliError) as raised:
            await changing.reload()
        self.assertEqual(raised.exception.status, CONFIG)
        await deferLater(reactor, 1.0)
        changing.over = True
        await sending
        counts = await changing.count()
        sys.stdout.write(f"\n{counts}; memory {changing.memory()} KiB\nFAULTS_SEED={seed}\n")
        self.assert_kept(counts)
        self.assertEqual(await changing.relay.stop(), 0)

    async def test_memory(self) -> None:
        """It does not grow with the number of reloads."""
        changing = await self.changing(seeded())
        sending = changing.send(5)
        used = {}
        for number in range(1, RELOADS + 1):
            await changing.change(list(CHOICES)[number % len(CHOICES)])
            if number in {WARM_UP, RELOADS // 2, RELOADS}:
                used[number] = changing.memory()
        changing.over = True
        await sending
        counts = await changing.count()
        sys.stdout.write(f"\n{counts}\nmemory after so many reloads, KiB: {used}\n")
        self.assert_kept(counts)
        self.assertLess(used[RELOADS] - used[WARM_UP], TOLERANCE)
