"""
A simulated week in which things are wrong for long: promises 1, 2 and 4, counted.

The dispatcher and the spool are the real ones; the week passes on a clock that a test moves.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from smtprelay.interfaces import Attempt
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Outcome, Results
from smtprelay.model.queue import Selection
from smtprelay.spool.maintenance.check import check
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import MORNING, DispatcherTestCase, done
from tests.listed import listed

HOUR = 3600.0
DAY = 24 * HOUR
WEEK = 7 * DAY

#: Hours between two mails.
EVERY = 2


class MoodyProvider(ScriptedProvider):
    """
    Answers by the time of the clock.

    :ivar mood: gives what is answered now, to a delivery as to a probe.
    :ivar taken: how often each delivery was taken.
    """

    def __init__(self, name: str, mood: Callable[[], Outcome]) -> None:
        super().__init__(name)
        self.mood = mood
        self.taken: Counter[str] = Counter()

    async def deliver(self, attempt: Attempt) -> Results:
        outcome = self.mood()
        if isinstance(outcome, Delivered):
            self.taken[attempt.delivery.message] += 1
        self.answers.append(outcome)
        return await super().deliver(attempt)

    async def probe(self, lane: str) -> Outcome | None:
        self.calls.append(("probe", lane))
        return self.mood()


class WeekTests(DispatcherTestCase):
    def week(self, provider: MoodyProvider, *, restarts: bool = False, step: float = 0.0) -> list[str]:
        """Let mail come for a week, then a day pass without any; return the ids of that mail."""
        accepted = []
        for hour in range(7 * 24):
            if hour % EVERY == 0:
                accepted.append(self.staged.accept())
            self.staged.clock.pump([1200.0] * 3)
            if restarts and hour % 24 == 23:
                self.restart()
            if step and hour % 48 == 47:
                self.put(step if hour % 96 == 47 else -step)
        self.staged.clock.pump([1200.0] * 3 * 24)
        self.assertEqual(check(self.staged.spool._writer.writer.connection), [])
        return accepted

    def restart(self) -> None:
        """End the dispatcher and begin anew, as a deployment does."""
        stopped = self.staged.dispatcher.stop(0)
        self.staged.clock.advance(0)
        self.successResultOf(stopped)
        self.staged.restart()

    def put(self, seconds: float) -> None:
        """Put the clock, as the daemon's watch finds it."""
        clock = self.staged.clock
        clock.rightNow += seconds
        for call in clock.getDelayedCalls():
            call.delay(seconds)
        self.staged.dispatcher.clock_stepped(seconds)

    def ends(self, kind: str = "M") -> Counter[str]:
        """Return how many deliveries are in each state, of mail or, for ``B``, of bounces."""
        states = ("queued", "active", "deferred", "held", "delivered", "failed")
        lines = done(listed(self.staged.spool, Selection(states=states, limit=10_000)))
        return Counter(line.state for line in lines if line.message.startswith(kind))

    def moody(self, mood: Callable[[float], Outcome], **more: Any) -> MoodyProvider:
        provider = MoodyProvider("one", lambda: mood(self.staged.clock.seconds() - MORNING))
        self.stage(provider, **more)
        return provider

    def test_a_secret_that_is_expired_for_a_week(self) -> None:
        """Nothing bounces and nothing expires: it waits, and all of it goes when the secret is renewed."""
        for restarts in (False, True):
            provider = self.moody(lambda now: Blocked("invalid_client") if now < WEEK - HOUR else Delivered())
            accepted = self.week(provider, restarts=restarts)
            self.assertEqual(provider.taken, Counter(accepted))
            self.assertEqual(self.ends(), {"delivered": len(accepted)})
            self.assertEqual((self.staged.posted, self.staged.events.of("message.expired")), ([], []))
            # One question a quarter of an hour, and not one for each mail.
            self.assertLess(len(provider.calls) - len(accepted), 1000)

    def test_a_week_of_secrets_that_fail_every_other_day(self) -> None:
        """The days on which the provider is busy count, those on which it is blocked do not."""

        def mood(now: float) -> Outcome:
            if now > WEEK:
                return Delivered()
            return Blocked("401") if int(now // DAY) % 2 == 0 else Deferred("busy")

        provider = self.moody(mood, route={"expire": 6 * DAY})
        accepted = self.week(provider)
        self.assertEqual(provider.taken, Counter(accepted))
        self.assertEqual(self.staged.posted, [])

    def test_a_provider_that_is_down_for_a_week(self) -> None:
        """What is older than the route allows is bounced, the rest is delivered, each once and none both."""
        provider = self.moody(lambda now: Deferred("connection refused") if now < WEEK else Delivered())
        accepted = self.week(provider)
        bounced = Counter(post.draft.bounce_of for post in self.staged.posted)
        delivered = {each: times for each, times in provider.taken.items() if each.startswith("M")}
        self.assertEqual({*bounced, *delivered}, set(accepted))
        self.assertEqual(({*bounced} & {*delivered}), set())
        self.assertEqual({*bounced.values(), *delivered.values()}, {1})
        self.assertEqual(self.ends(), {"failed": len(bounced), "delivered": len(delivered)})
        # Two days are the route's limit, and the last delay before them is at most an hour and a fifth.
        self.assertAlmostEqual(len(delivered), 2 * 24 / EVERY, delta=2)
        # A bounce that could not go either is visibly failed.
        reports = self.ends("B")
        self.assertEqual(sum(reports.values()), len(bounced))
        self.assertEqual(reports["delivered"], len(provider.taken) - len(delivered))
        self.assertEqual(set(reports), {"delivered", "failed"})

    def test_a_clock_that_jumps_two_days_either_way(self) -> None:
        """Nothing expires that is not old, nothing sleeps for days, and each mail goes once."""
        provider = self.moody(lambda now: Deferred("busy") if int(now // HOUR) % 7 < 6 else Delivered())
        accepted = self.week(provider, step=2 * DAY)
        self.assertEqual(provider.taken, Counter(accepted))
        self.assertEqual(self.ends(), {"delivered": len(accepted)})
        self.assertEqual(self.staged.posted, [])
