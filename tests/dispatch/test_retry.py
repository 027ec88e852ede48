from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.retry import delay, honoured, probe_delay
from smtprelay.model.route import Schedule


class DelayTests(SynchronousTestCase):
    schedule = Schedule(first=30, factor=2, max=3600, jitter=0.2)

    def test_it_doubles_up_to_the_maximum(self) -> None:
        """Without luck either way, the delays are first, first × factor, … and at most max."""
        delays = [delay(self.schedule, tries, 0.5) for tries in range(9)]
        self.assertEqual(delays, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600])

    def test_jitter_spreads_evenly_to_both_sides(self) -> None:
        """The ends of the chance are the whole jitter, less and more."""
        spread = [delay(self.schedule, 0, chance) for chance in (0.0, 0.25, 1.0)]
        self.assertEqual(spread, [24.0, 27.0, 36.0])

    def test_a_thousand_tries_do_not_overflow(self) -> None:
        """A mail that never expires may be tried as often as one likes."""
        self.assertEqual(delay(self.schedule, 100_000, 0.5), 3600)

    def test_probes_become_rarer(self) -> None:
        """A lane is probed after 30 s, doubling, at most after a quarter of an hour."""
        delays = [probe_delay(times) for times in (1, 2, 3, 4, 5, 6, 7, 10_000)]
        self.assertEqual(delays, [30, 60, 120, 240, 480, 900, 900, 900])

    def test_retry_after_is_honoured_up_to_an_hour(self) -> None:
        """What a provider asks for is obeyed to the second, capped, and never negative."""
        self.assertEqual([honoured(each) for each in (-5, 0.5, 212, 3600, 86400)], [0, 0.5, 212, 3600, 3600])
