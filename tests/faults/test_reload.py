"""
A configuration that changes every second while many clients send.

:mod:`tests.process.service.test_reload` has the short form.
"""

import sys

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from smtprelay.cli.exit_codes import CONFIG, CliError
from smtprelay.service.relay import ATTEMPTS_BOUND, CLOSING_BOUND
from tests.faults.test_disk import seeded
from tests.process.acs_server import AcsServer
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess, message
from tests.process.service.changing_relay import CHOICES, ChangingStage
from tests.process.service.test_reload import ReloadCase

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


class HangingTests(ReloadCase, TestCase):
    timeout = 300

    async def test_the_old_provider_hangs(self) -> None:
        """Its attempts are waited for, with new ones beside them; a stop waits no longer than usual."""
        acs = await self.fake_acs()
        await acs.delay(60.0)
        relay = await self.ending(RelayProcess.to_acs(self.folder, acs)).start()
        for _ in range(3):
            await relay.send(message("on its way"), "user@example.com")
        await eventually(lambda: self.requests(acs, 3), "the requests")
        self.edit(relay, "out: {", "new: {type: capture, path: new}, out: {")
        await self.reloads(relay, "via: [out]", "via: [new]")
        self.edit(
            relay,
            relay.config.read_text().split("new}, ")[1].split("}}\n")[0],
            "old: {type: capture, path: old",
        )
        program = await self.command(relay)
        self.assertEqual(program.status, 0, program.err)
        await relay.send(message("beside"), "user@example.com")
        await eventually(lambda: list(self.folder.glob("new/new/*")), "the mail beside them")
        began = reactor.seconds()
        self.assertEqual(await relay.life.stop(), 0)
        sys.stdout.write(f"\nthe stop took {reactor.seconds() - began:.1f} s\n")
        self.assertLess(reactor.seconds() - began, ATTEMPTS_BOUND + CLOSING_BOUND + 5.0)
        self.assertNotIn(b"Traceback", relay.life.out + relay.life.err)

    async def requests(self, acs: AcsServer, count: int) -> bool:
        return len(await acs.arrivals()) == count
