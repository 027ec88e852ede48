"""The clock is put, and the timers of the process do not care."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.service.clock_steps import ClockSteps

DAYS = 2 * 86400.0


class StepsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000.0)
        self.steady = 50.0
        self.told: list[float] = []
        self.steps = ClockSteps(self.clock, self.told.append, lambda: self.steady)
        self.steps._ahead = self.steps._difference()

    def pass_time(self, seconds: float) -> None:
        self.steady += seconds
        self.clock.advance(seconds)

    def test_a_step_is_found_once(self) -> None:
        """In either direction; time that passes, and what is slewed or late, is none."""
        for put in (0.0, 0.3, DAYS, 0.0, -DAYS, -5.0):
            self.pass_time(1.0)
            self.clock.rightNow += put
            self.steps.check()
        self.assertEqual([round(step) for step in self.told], [DAYS, -DAYS, -5])

    def test_timers_ring_when_they_would_have(self) -> None:
        """Not all at once when the clock was put forward, and not days late when it was put back."""
        for step in (DAYS, -DAYS):
            rung: list[int] = []
            self.clock.callLater(10, rung.append, 10)
            self.clock.callLater(20, rung.append, 20)
            self.steps.check()
            self.clock.rightNow += step
            self.steps.check()
            self.pass_time(9)
            self.assertEqual(rung, [])
            self.pass_time(1)
            self.assertEqual(rung, [10])
            self.pass_time(10)
            self.assertEqual(rung, [10, 20])
        self.assertEqual(self.told, [DAYS, -DAYS])

    def test_timers_of_the_new_time_stay(self) -> None:
        """What was set after the clock was put, and before that was found, rings when it was meant to."""
        for step in (DAYS, -DAYS):
            rung: list[float] = []
            self.steps.check()
            self.clock.rightNow += step
            for seconds in (0, 10, 3600):
                self.clock.callLater(seconds, rung.append, seconds)
            self.steps.check()
            for passes, rings in ((0, [0]), (9, [0]), (1, [0, 10]), (3589, [0, 10]), (1, [0, 10, 3600])):
                self.pass_time(passes)
                self.assertEqual(rung, rings)

    def test_timers_of_the_last_moment(self) -> None:
        """One that was set just before the clock was put back does not wait for the old time."""
        rung: list[float] = []
        self.steps.check()
        self.clock.callLater(0, rung.append, 0)
        self.clock.callLater(5, rung.append, 5)
        self.clock.rightNow -= DAYS
        self.steady += 0.5
        self.clock.rightNow += 0.5
        self.steps.check()
        self.pass_time(0)
        self.assertEqual(rung, [0])
        self.pass_time(4.6)
        self.assertEqual(rung, [0, 5])
