"""What is over is forgotten by age and by size, a little at a time."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config.model import RetentionSettings, SpoolLimit, SpoolSettings
from smtprelay.model.queue import Selection
from smtprelay.model.route import RateLimit
from smtprelay.service.retention import Retention
from smtprelay.spool.engines.memory import open_memory
from smtprelay.spool.engines.spool_options import SpoolOptions
from tests.behaviours.spool_stories import SpoolStories, done
from tests.dispatch.stage import done as finished
from tests.listed import listed
from tests.recording import Recording

DAY = 86400.0


class KeepingTests(SpoolStories, SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        rate_limits = {"main": RateLimit(concurrency=100_000)}
        self.events = Recording()
        self.spool = open_memory(
            SpoolOptions(rate_limits=rate_limits, events=self.events, keeps_bodies=True), clock=self.clock
        )
        self.writer = self.spool._writer.writer
        self.connection = self.writer.connection

    def keeping(self, **more) -> Retention:
        retention = RetentionSettings(history=3 * DAY, bodies=DAY)
        return Retention(
            self.spool.maintenance,
            SpoolSettings(retention=retention, **more),
            self.clock,
            self.events,
        )

    def delivered(self, count: int) -> None:
        for number in range(1, count + 1):
            finished(self.send(self.spool, number=number))
        for claim in finished(self.spool.claim(count)).claims:
            finished(self.spool.settle(claim, done(claim)))

    def count(self, table: str) -> int:
        return self.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

    def test_by_age(self) -> None:
        """Bodies go after their time, the history after its own; what waits stays."""
        self.delivered(2)
        finished(self.send(self.spool, number=9))
        for days, messages, bodies in ((0.5, 3, 3), (1.5, 3, 1), (3.5, 1, 1)):
            self.clock.rightNow = 1000 + days * DAY
            finished(self.keeping().sweep())
            self.assertEqual((messages, bodies), (self.count("message"), self.count("chunk")))
        self.assertEqual([], list(finished(self.spool.maintenance.check()).findings))

    def test_no_step_is_large(self) -> None:
        """Two thousand are forgotten without a transaction that takes more than two hundred of them."""
        self.delivered(2_000)
        steps = []
        do = self.writer.do

        def watched(operation):
            before = self.count("message")
            result = do(operation)
            steps.append(before - self.count("message"))
            return result

        self.patch(self.writer, "do", watched)
        self.clock.advance(4 * DAY)
        finished(self.keeping().sweep())
        self.assertEqual(2_000, sum(steps))
        self.assertLessEqual(max(steps), 200)
        for table in ("message", "delivery", "recipient", "attempt", "chunk"):
            self.assertEqual(0, self.count(table))

    def test_by_size(self) -> None:
        """When the spool is too large the history goes before its time, and only as much of it as must."""
        self.delivered(1000)
        used = finished(self.spool.maintenance.space()).used
        finished(self.keeping(limit=SpoolLimit(bytes=2 * used)).sweep())
        self.assertEqual((1000, []), (self.count("message"), self.events.of("history.pruned")))
        finished(self.keeping(limit=SpoolLimit(bytes=used)).sweep())
        left = self.count("message")
        self.assertTrue(0 < left < 1000, left)
        self.assertEqual([{"messages": 1000 - left}], self.events.of("history.pruned"))
        finished(self.send(self.spool, number=2000))
        finished(self.keeping(limit=SpoolLimit(bytes=1)).sweep())
        self.assertEqual(1, self.count("message"))
        self.assertEqual(1, len(finished(listed(self.spool, Selection()))))

    def test_stopping(self) -> None:
        """A relay that stops does not wait for the end of a long sweep."""
        self.delivered(500)
        self.clock.advance(4 * DAY)
        keeping = self.keeping()
        keeping.stopping = True
        finished(keeping.sweep())
        finished(keeping.shrink())
        self.assertEqual(500, self.count("message"))
