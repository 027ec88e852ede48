"""
Hostile mail in the real relay: it costs others nothing but a little time, and never the end of the relay.
"""

import signal

from twisted.trial.unittest import TestCase

from tests.process.mime.test_mime_worker import lives
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess, message
from tests.process.stage import Stage

CAPTURE = "out: {type: capture, path: captured}"

#: More than what is worked on at once.
LONG = "a line of text, as there are many\r\n" * 35_000

#: So many, when there is no end to be waited for.
FOR_EVER = "1000"


#: Until the seconds of two mails are used up, on a machine where that takes ten times as long.
BUSY = 120.0


def hostile() -> bytes:
    return message("hostile", text=LONG)


class HostileMailTests(Stage, TestCase):
    async def relay(self, seconds: str, *options: str) -> RelayProcess:
        relay = self.ending(RelayProcess.of(self.folder, CAPTURE))
        return await relay.start("--mime", seconds, *options)

    async def computing(self, *options: str) -> RelayProcess:
        """Return a relay whose worker computes on a hostile mail."""
        relay = await self.relay(FOR_EVER, *options)
        for _ in range(4):
            await relay.send(hostile(), "user@example.com")
        await eventually(relay.worker, "the worker")
        return relay

    def subjects(self) -> list[str]:
        """Return the subjects of what was delivered."""
        files = (self.folder / "captured").glob("new/*")
        return sorted(file.read_text().partition("Subject: ")[2].partition("\n")[0] for file in files)

    async def test_others_are_served(self) -> None:
        """Small mail does not wait for it, large mail behind it is delivered; it fails, and bounces."""
        relay = await self.relay("1")
        for _ in range(2):
            self.assertIn("250 2.0.0 Ok", await relay.send(hostile(), "user@example.com"))
        await relay.send(message("large", text=LONG), "user@example.com")
        await relay.send(message("small"), "user@example.com")
        await eventually(lambda: "small" in self.subjects(), "the small mail")
        self.assertNotIn("large", self.subjects())
        await eventually(lambda: "large" in self.subjects(), "the large mail", patience=BUSY)
        await eventually(lambda: len(self.subjects()) == 4, "the reports", patience=BUSY)
        self.assertNotIn("hostile", self.subjects())
        self.assertIn(b"used up the processor time", relay.life.out)

    async def test_stop(self) -> None:
        """SIGTERM ends the relay within its bounds while such mail is worked on, and its worker with it."""
        relay = await self.computing("--attempts-bound", "0.5")
        worker = relay.worker()
        self.assertTrue(lives(worker))
        self.assertEqual(await relay.stop(), 0)
        self.assertFalse(lives(worker))

    async def test_second_signal(self) -> None:
        """A second signal ends it at once, and the worker too: no process is left that computes."""
        relay = await self.computing()
        worker = relay.worker()
        relay.life.signal(signal.SIGTERM)
        await relay.life.says('"event":"relay.stop"')
        self.assertEqual(await relay.life.insist(), 128 + signal.SIGTERM)
        await eventually(lambda: not lives(worker), "the end of the worker")
