"""The one timer of a session."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.net.deadline import SilenceDeadline


class Watching(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.expired: list[float] = []
        self.looks: list[float] = []

    def start(self, seconds: float) -> SilenceDeadline:
        return SilenceDeadline(
            self.clock, seconds, lambda: self.expired.append(self.clock.seconds()), self.looks.append
        )

    def test_silence(self):
        """It expires when nothing was heard for its seconds, not before."""
        self.start(100)
        self.clock.pump([1] * 99)
        self.assertEqual(self.expired, [])
        self.clock.pump([1])
        self.assertEqual(self.expired, [100])

    def test_touched(self):
        """What is heard moves it, without a timer being set anew."""
        deadline = self.start(100)
        self.clock.advance(50)
        timers = self.clock.getDelayedCalls()
        for _ in range(1000):
            deadline.touch()
        self.assertEqual(self.clock.getDelayedCalls(), timers)
        self.clock.pump([1] * 99)
        self.assertEqual(self.expired, [])
        self.clock.pump([1])
        self.assertEqual(self.expired, [150])

    def test_looks(self):
        """It looks at least once a minute and tells how long that was."""
        self.start(1000)
        self.clock.pump([60] * 3)
        self.assertEqual(self.looks, [60, 60, 60])

    def test_a_clock_that_is_put_forward(self):
        """That is no silence, and no time in which the client might have sent something; it begins anew."""
        self.start(100)
        self.clock.advance(50)
        self.clock.advance(2 * 86400)
        self.assertEqual((self.expired, self.looks), ([], []))
        self.clock.pump([1] * 99)
        self.assertEqual((self.expired, self.looks), ([], [60]))
        self.clock.pump([1])
        self.assertEqual(self.expired, [150 + 2 * 86400])

    def test_shortened(self):
        """Shortened, it expires whatever is heard."""
        deadline = self.start(100)
        deadline.shorten(5)
        for _ in range(5):
            deadline.touch()
            self.clock.advance(1)
        self.assertEqual(self.expired, [5])

    def test_hurried(self):
        """From then on less silence is too much, however long ago it began; what is heard moves it still."""
        deadline = self.start(100)
        self.clock.advance(50)
        deadline.limit_silence(3)
        self.clock.pump([1] * 3)
        self.assertEqual(self.expired, [53])
        for _ in range(5):
            deadline.touch()
            self.clock.pump([1] * 2)
        self.assertEqual(self.expired, [53])
        self.clock.pump([1])
        self.assertEqual(self.expired, [53, 64])

    def test_hurried_at_the_end(self):
        """One that is shortened is shortened further, before or after."""
        for targets in (("shorten", 10), ("limit_silence", 3)), (("limit_silence", 3), ("shorten", 10)):
            deadline = self.start(100)
            began = self.clock.seconds()
            for way, seconds in targets:
                getattr(deadline, way)(seconds)
            for _ in range(3):
                deadline.touch()
                self.clock.advance(1)
            self.assertEqual(self.expired.pop(), began + 3)

    def test_cancelled(self):
        """Cancelled, at any time, it leaves no timer."""
        deadline = self.start(1)
        self.clock.advance(1)
        deadline.cancel()
        deadline.cancel()
        deadline.shorten(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
