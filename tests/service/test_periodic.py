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

        for operation, seconds in (("reclaim", 1), ("expiries", 2)):
            of_spool = operation == "reclaim"
            self.addCleanup(every(clock, events, operation, seconds, fail, of_spool=of_spool).stop)
        clock.pump([1.0, 1.0])
        chore = {"operation": "reclaim", "reason": "disk on fire"}
        self.assertEqual(events.of("spool.failed"), [chore, chore])
        self.assertEqual(events.of("task.failed"), [{"task": "expiries", "reason": "disk on fire"}])
