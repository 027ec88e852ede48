"""The pace holds in every interval, whenever it is asked."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.rate_limit import PARTS, allowance, nothing_spent, spend
from smtprelay.model.route import Window

MINUTE = Window(count=5, seconds=60.0)


class PaceTests(SynchronousTestCase):
    def test_without_windows_there_is_no_bound(self):
        """A provider without a pace may always be asked."""
        self.assertEqual((None, 7.0), allowance((), (), 7.0))

    def test_the_narrowest_window_decides(self):
        """With several windows the smallest room counts."""
        windows = (Window(count=5, seconds=60.0), Window(count=3, seconds=1.0))
        self.assertEqual((3, 0.0), allowance(windows, nothing_spent(windows), 0.0))

    def test_it_says_when_there_is_room_again(self):
        """When nothing may go, the time at which something may is exact: not a moment later is needed."""
        spent = spend((MINUTE,), nothing_spent((MINUTE,)), 100.0, 5)
        room, when = allowance((MINUTE,), spent, 100.0)
        self.assertEqual(0, room)
        self.assertEqual(0, allowance((MINUTE,), spent, when - 0.001)[0])
        self.assertEqual(5, allowance((MINUTE,), spent, when)[0])

    def test_what_is_old_is_forgotten(self):
        """The counts that are kept are bounded, however long it goes on."""
        spent = nothing_spent((MINUTE,))
        for second in range(1000):
            spent = spend((MINUTE,), spent, float(second), 1)
        self.assertLessEqual(len(spent[0]), PARTS + 1)

    def test_a_clock_that_goes_back_does_not_open_it(self):
        """After a step back in time what was spent a moment ago still counts."""
        spent = spend((MINUTE,), nothing_spent((MINUTE,)), 1000.0, 5)
        self.assertEqual(0, allowance((MINUTE,), spent, 950.0)[0])

    def test_a_clock_that_was_far_ahead_does_not_close_it(self):
        """What was spent by a clock that was a day ahead is not waited for until that day."""
        spent = spend((MINUTE,), nothing_spent((MINUTE,)), 87400.0, 5)
        self.assertEqual(5, allowance((MINUTE,), spent, 1000.0)[0])

    @given(
        st.integers(1, 40),
        st.floats(0.5, 3600.0),
        st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60),
    )
    def test_in_no_interval_go_more(self, count, seconds, gaps):
        """Whatever the rhythm of asking, no interval as long as the window sees more than its count."""
        window = Window(count=count, seconds=seconds)
        spent, now, went = nothing_spent((window,)), 0.0, []
        for gap in gaps:
            now += gap * seconds / 3
            room, _ = allowance((window,), spent, now)
            if room:
                spent = spend((window,), spent, now, room)
                went.append((now, room))
        for start, _ in went:
            within = sum(number for at, number in went if start <= at < start + seconds)
            self.assertLessEqual(within, count)
