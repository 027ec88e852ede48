"""
A provider with a limit that nobody told us: what it costs to find it out.

The provider here takes ten mails a second, with some patience for a burst, and refuses what is more with a
bare 429. The clock is Twisted's own, so that minutes take seconds.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.interfaces import Attempt
from smtprelay.model.outcome import Delivered, Throttled
from smtprelay.model.route import Limits, RateLimit, Route, Schedule
from smtprelay.providers.defaults import ProviderDefaults
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import MORNING, DispatcherTestCase, Stage

RATE = 10.0


def bucket(burst: float) -> Callable[[float], bool]:
    """Return a limit of :data:`RATE` by a bucket that holds ``burst``."""
    held, last = burst, MORNING

    def takes(now: float) -> bool:
        nonlocal held, last
        held, last = min(burst, held + (now - last) * RATE), now
        if held < 1:
            return False
        held -= 1
        return True

    return takes


def any_second() -> Callable[[float], bool]:
    """Return a limit of :data:`RATE` mails in any second."""
    taken: deque[float] = deque()

    def takes(now: float) -> bool:
        while taken and taken[0] <= now - 1:
            taken.popleft()
        if len(taken) >= RATE:
            return False
        taken.append(now)
        return True

    return takes


def bad_minutes(seconds: float) -> Callable[[float], bool]:
    """Return a provider's bad hour: for so long every other mail is refused, then all are taken."""
    came = 0

    def takes(now: float) -> bool:
        nonlocal came
        came += 1
        return now > MORNING + seconds or came % 2 == 0

    return takes


class Limited(ProviderDefaults):
    """A provider that answers after ``latency`` and takes no more than ``takes`` allows."""

    idempotent = True
    name = "one"
    limits = Limits()

    def __init__(self, clock: Clock, latency: float, takes: Callable[[float], bool]) -> None:
        self.clock, self.latency, self.takes = clock, latency, takes
        self.refused = self.taken = 0

    async def deliver(self, attempt: Attempt) -> Any:
        taken_now = self.takes(self.clock.seconds())
        await deferLater(self.clock, self.latency)
        self.taken += taken_now
        self.refused += not taken_now
        return attempt.results(Delivered() if taken_now else Throttled("429"))


class HiddenLimitTests(SynchronousTestCase):
    def deliver(
        self, takes: Callable[[float], bool], *, latency: float, mails: int, rounds: int = 200_000
    ) -> tuple[float, float]:
        """Deliver so many; return the throughput and the refusals, both as shares of what is ideal."""
        stage = Stage(
            [ScriptedProvider("one")], [Route(name="default", via=("one",))], RateLimit(concurrency=50)
        )
        provider = Limited(stage.clock, latency, takes)
        stage.providers["one"] = provider  # type: ignore[assignment]
        for _ in range(mails):
            stage.accept()
        stage.start()
        clock = stage.clock
        for _ in range(rounds):
            if provider.taken == mails:
                break
            clock.advance(max(0.0, min(call.getTime() for call in clock.getDelayedCalls()) - clock.seconds()))
        self.assertEqual(provider.taken, mails)
        seconds = clock.seconds() - MORNING
        self.successResultOf(stage.dispatcher.stop(0))
        return mails / seconds / RATE, provider.refused / mails

    def assertFound(self, takes: Callable[[float], bool], latency: float, share: float) -> None:
        """It takes about a hundred refusals to come from fifty at once to ten a second."""
        throughput, refused = self.deliver(takes, latency=latency, mails=1000)
        self.assertGreater(throughput, share)
        self.assertLess(refused, 0.25)

    def test_a_limit_that_bears_a_burst(self) -> None:
        """Nearly all that the provider takes gets through, and few mails are refused."""
        for latency in (0.05, 0.1):
            self.assertFound(bucket(RATE), latency, 0.95)

    def test_a_limit_of_each_second(self) -> None:
        """Where the provider counts by the second it is four fifths, when the limit is found."""
        self.assertFound(any_second(), 0.1, 0.75)

    def test_a_limit_without_any_burst(self) -> None:
        """So it is where two mails at once are one too many."""
        self.assertFound(bucket(1.0), 0.1, 0.7)

    def test_it_is_soon_as_fast_as_before(self) -> None:
        """When a provider that refused at random is well again, what waits goes within three minutes."""
        throughput, _ = self.deliver(bad_minutes(120), latency=0.1, mails=600)
        self.assertLess(600 / (throughput * RATE), 120 + 180)


class ThrottledTests(DispatcherTestCase):
    def test_it_goes_again_soon_and_is_not_blamed(self) -> None:
        """A mail that came too fast is tried as soon as the lane opens, and keeps its attempts."""
        one = ScriptedProvider("one", [Throttled("429")] * 5)
        stage = self.stage(one, route={"retry": Schedule(attempts=1)})
        message = stage.accept()
        stage.clock.pump([0.25, 0.5, 1.0, 2.0, 4.0])
        self.assertEqual((len(one.sent), stage.summary(message).state), (6, "delivered"))

    def test_the_log_says_it_once(self) -> None:
        """A hundred refusals are one warning, and each counts as a throttled attempt."""
        answers: list[Deferred[Any]] = [Deferred() for _ in range(10)]
        stage = self.stage(ScriptedProvider("one", answers))
        for _ in range(10):
            stage.accept()
        for answer in answers:
            answer.callback(Throttled("429 slow"))
        self.assertEqual(
            stage.events.of("lane.throttled"), [{"provider": "one", "lane": "", "reason": "429 slow"}]
        )
        self.assertEqual({each["outcome"] for each in stage.events.of("attempt.ended")}, {"throttled"})

    def test_the_others_are_not_tried_one_by_one(self) -> None:
        """While the lane is closed nothing is asked, however much waits."""
        one = ScriptedProvider("one", [Throttled("503")] * 100)
        stage = self.stage(one, rate_limit=RateLimit(concurrency=5))
        for _ in range(50):
            stage.accept()
        stage.clock.pump([0.05] * 200)
        self.assertLess(len(one.sent), 12)

    def test_another_provider_is_asked_after_enough_of_them(self) -> None:
        """Throttled attempts count for the failover: who has another provider wants the mail to move."""
        one = ScriptedProvider("one", [Throttled("429")] * 3)
        two = ScriptedProvider("two")
        stage = self.stage(one, two)
        stage.accept()
        stage.clock.pump([0.25, 0.5])
        self.assertEqual((len(one.sent), len(two.sent)), (3, 1))
