"""The rate holds in every interval, whenever it is asked."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.rate_limit import PARTS, Load, allowance, spend
from smtprelay.model.route import Window

MINUTE = Window(count=5, seconds=60.0)


def spent_at(now: float) -> list[dict[int, int]]:
    """Return what is counted when all that a minute allows has gone at once."""
    spent: list[dict[int, int]] = [{}]
    for _ in range(MINUTE.count):
        spent = spend((MINUTE,), spent, now, Load())
    return spent


class PaceTests(SynchronousTestCase):
    def test_without_windows_there_is_no_bound(self):
        """A provider without a rate may always be asked."""
        self.assertEqual((None, 7.0), allowance((), (), 7.0))

    def test_the_narrowest_window_decides(self):
        """With several windows the smallest room counts."""
        windows = (Window(count=5, seconds=60.0), Window(count=3, seconds=1.0))
        self.assertEqual((3, 0.0), allowance(windows, [{}, {}], 0.0))

    def test_it_says_when_there_is_room_again(self):
        """When nothing may go, the time at which something may is exact: not a moment later is needed."""
        spent = spent_at(100.0)
        room, when = allowance((MINUTE,), spent, 100.0)
        self.assertEqual(0, room)
        self.assertEqual(0, allowance((MINUTE,), spent, when - 0.001)[0])
        self.assertEqual(5, allowance((MINUTE,), spent, when)[0])

    def test_what_is_old_is_forgotten(self):
        """The counts that are kept are bounded, however long it goes on."""
        spent = [{}]
        for second in range(1000):
            spent = spend((MINUTE,), spent, float(second), Load())
        self.assertLessEqual(len(spent[0]), PARTS + 1)

    def test_a_clock_that_goes_back_does_not_open_it(self):
        """After a step back in time what was spent a moment ago still counts."""
        spent = spent_at(1000.0)
        self.assertEqual(0, allowance((MINUTE,), spent, 950.0)[0])

    def test_a_clock_that_was_far_ahead_does_not_close_it(self):
        """What was spent by a clock that was a day ahead is not waited for until that day."""
        spent = spent_at(87400.0)
        self.assertEqual(5, allowance((MINUTE,), spent, 1000.0)[0])

    @given(
        st.integers(1, 40),
        st.floats(0.5, 3600.0),
        st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60),
    )
    def test_in_no_interval_go_more(self, count, seconds, gaps):
        """Whatever the rhythm of asking, no interval as long as the window sees more than its count."""
        window = Window(count=count, seconds=seconds)
        spent, now, went = [{}], 0.0, []
        for gap in gaps:
            now += gap * seconds / 3
            room, _ = allowance((window,), spent, now)
            if room:
                for _ in range(room):
                    spent = spend((window,), spent, now, Load())
                went.append((now, room))
        for start, _ in went:
            within = sum(number for at, number in went if start <= at < start + seconds)
            self.assertLessEqual(within, count)

    def test_a_window_counts_what_its_unit_says(self):
        """Recipients or bytes instead of messages; a request needs as much room as it counts."""
        windows = (
            Window(count=10, seconds=60.0, unit="recipients"),
            Window(count=99, seconds=60.0, unit="bytes"),
        )
        spent = spend(windows, [{}, {}], 100.0, Load(recipients=7, bytes=90))
        self.assertEqual(0, allowance(windows, spent, 100.0, Load(recipients=4))[0])
        self.assertEqual(0, allowance(windows, spent, 100.0, Load(bytes=10))[0])
        self.assertEqual(1, allowance(windows, spent, 100.0, Load(recipients=3, bytes=9))[0])
        _, when = allowance(windows, spent, 100.0, Load(recipients=4))
        self.assertEqual(2, allowance(windows, spent, when, Load(recipients=4))[0])

    def test_what_is_more_than_a_window_allows_fills_several(self):
        """It goes when nothing else counts, and then nothing goes until the rate is kept on average."""
        windows = (Window(count=10, seconds=60.0, unit="recipients"),)
        large = Load(recipients=35)
        self.assertEqual(0, allowance(windows, spend(windows, [{}], 0.0, Load()), 0.0, large)[0])
        self.assertEqual(1, allowance(windows, [{}], 0.0, large)[0])
        spent = spend(windows, [{}], 0.0, large)
        room, when = allowance(windows, spent, 0.0)
        self.assertEqual(0, room)
        self.assertTrue(210.0 <= when <= 213.0, when)
        self.assertEqual(0, allowance(windows, spent, when - 0.001)[0])
        self.assertEqual(1, allowance(windows, spent, when, large)[0])
