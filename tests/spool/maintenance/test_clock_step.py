"""When the clock is put, mail is not older for it and goes when it would have gone."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.attempt import Block, Claim, Settlement
from smtprelay.model.outcome import Deferred, Throttled
from smtprelay.model.queue import Selection
from smtprelay.spool.engines.memory import open_memory
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.spool.maintenance.check import check
from tests.behaviours.spool_stories import RATE_LIMITS, SpoolStories
from tests.dispatch.stage import done
from tests.listed import listed
from tests.recording import Recording

DAYS = 2 * 86400.0


def later(claim: Claim, due: float) -> Settlement:
    outcomes = {each: Deferred("busy") for each in claim.delivery.envelope.addresses}
    return Settlement(state="deferred", outcomes=outcomes, due=due)


class StepTests(SpoolStories, SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.clock.advance(10_000_000)
        self.spool = open_memory(SpoolOptions(rate_limits=RATE_LIMITS, events=Recording()), clock=self.clock)

    def put(self, seconds: float) -> None:
        """Put the clock, as an operator or NTP does."""
        self.clock.rightNow += seconds
        done(self.spool.clock_stepped(seconds))
        self.assertEqual([], check(self.spool._writer.writer.connection))

    def claim(self) -> list[Claim]:
        return list(done(self.spool.claim()).claims)

    def test_the_age_of_mail(self):
        """However the clock is put, in whatever lane, mail ages by the time that really passes."""
        done(self.send(self.spool, number=1))
        done(self.send(self.spool, number=2, provider="other", lane="box"))
        for seconds in (DAYS, -3 * DAYS, 5.0):
            self.clock.advance(100)
            self.put(seconds)
        claims = self.claim()
        self.assertEqual([300.0, 300.0], [round(claim.age) for claim in claims])
        for claim in claims:
            done(self.spool.settle(claim, later(claim, self.clock.seconds() + 60)))
        self.put(DAYS)
        self.assertEqual([300.0, 300.0], [round(claim.age) for claim in self.claim()])

    def test_what_waits_when_the_clock_is_put_back(self):
        """Goes when it would have gone, a thousand deliveries as well as one."""
        lanes = [f"{n}" for n in range(1200)]
        for number, lane in enumerate(lanes, start=1):
            done(self.send(self.spool, number=number, provider="main", lane=lane))
        connection = self.spool._writer.writer.connection
        due = self.clock.seconds() + 600
        connection.execute("UPDATE delivery SET state = 'deferred', due = ?", (due,))
        connection.execute("UPDATE lane SET deferred = queued, queued = 0, due = ? WHERE queued > 0", (due,))
        self.spool._writer.writer._engine._lanes = None
        self.put(-DAYS)
        summaries = done(listed(self.spool, Selection(limit=2000)))
        self.assertEqual({600.0}, {round(line.due - self.clock.seconds()) for line in summaries})
        self.assertEqual([], self.claim())
        self.clock.advance(601)
        self.assertEqual(2, len(self.claim()))

    def test_a_lane_that_is_throttled(self):
        """Opens when it would have opened, and still learns from what comes after the step."""
        done(self.send(self.spool))
        (claim,) = self.claim()
        throttled = {"anna@example.com": Throttled("429")}
        settlement = Settlement(state="queued", outcomes=throttled, due=self.clock.seconds())
        done(self.spool.settle(claim, settlement))
        self.put(-DAYS)
        self.assertEqual([], self.claim())
        self.clock.advance(0.25)
        (claim,) = self.claim()
        self.clock.advance(1)
        done(self.spool.settle(claim, settlement))
        self.clock.advance(0.49)
        self.assertEqual([], self.claim())

    def test_a_small_step_back(self):
        """Is sat out."""
        done(self.send(self.spool))
        (claim,) = self.claim()
        done(self.spool.settle(claim, later(claim, self.clock.seconds() + 60)))
        self.put(-30.0)
        (line,) = done(listed(self.spool, Selection()))
        self.assertEqual(90.0, line.due - self.clock.seconds())

    def test_a_blocked_lane(self):
        """Is probed when it would have been."""
        done(self.send(self.spool))
        until = self.clock.seconds() + 900
        done(self.spool.block(Block(provider="main", until=until, reason="secret expired")))
        for seconds in (DAYS, -3 * DAYS):
            self.put(seconds)
            work = done(self.spool.claim())
            self.assertEqual((0, 900.0), (len(work.probes), work.due - self.clock.seconds()))
