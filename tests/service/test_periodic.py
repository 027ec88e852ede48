"""What a relay does again and again."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.service.periodic import every
from tests.recording import Recording


class EveryTests(SynchronousTestCase):
    def test_one_that_fails(self) -> None:
        """It is told by its own name, and done again next time."""
        clock, events = Clock(), Recording()

        async def fail() -> None:
            raise OSError("disk on fire")

        for operation, seconds in (("reclaim", 1), ("shrink", 2)):
            self.addCleanup(every(clock, events, operation, seconds, fail).stop)
        clock.pump([1.0, 1.0])
        told = [(each["operation"], each["reason"]) for each in events.of("spool.failed")]
        expected = [("reclaim", "disk on fire")] * 2 + [("shrink", "disk on fire")]
        self.assertEqual(sorted(told), expected)
