"""Rates that providers tell, and how the spool gets them."""

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.rate_watch import RateWatch
from smtprelay.model.route import Window
from smtprelay.testing.provider import ScriptedProvider
from tests.recording import Recording

SLOW, FAST = (Window(count=count, seconds=1.0, unit="recipients") for count in (1, 14))


class Telling(ScriptedProvider):
    """``told`` is its rate, and may come later; ``asked`` counts."""

    told: "Sequence[Window] | Deferred[Sequence[Window]] | None" = (SLOW,)
    asked = 0

    async def rate(self) -> Sequence[Window] | None:
        self.asked += 1
        return await self.told if isinstance(self.told, Deferred) else self.told


class Rates:
    """The part of a spool that is asked for."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, tuple[Window, ...]]] = []

    async def change_rate(self, provider: str, windows: tuple[Window, ...]) -> None:
        self.changes.append((provider, windows))


class RateWatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.spool, self.events = Clock(), Rates(), Recording()
        self.provider = Telling()
        self.watch = self.watching()

    def watching(self, share: int = 1) -> RateWatch:
        providers = {"silent": ScriptedProvider(), "ses": self.provider}
        return RateWatch(providers, self.spool, self.clock, self.events, share=share)

    def check(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self.watch.check())

    def test_one_that_fails(self) -> None:
        """A provider whose rate raises is asked again a minute later; others have their turn."""
        bad = Telling()
        bad.told = Deferred()
        bad.told.errback(RuntimeError("no number"))
        providers = {"bad": bad, "ses": self.provider}
        self.watch = RateWatch(providers, self.spool, self.clock, self.events)
        self.failureResultOf(self.check(), RuntimeError)
        self.check()
        self.assertEqual((self.spool.changes, bad.asked), ([("ses", (SLOW,))], 1))

    def test_changes(self) -> None:
        """A rate is known at once, and what changes later is, within ten minutes; each change is told."""
        self.check()
        self.assertEqual(self.spool.changes, [("ses", (SLOW,))])
        self.provider.told = (FAST,)
        for second in range(1, 1300):
            self.clock.advance(1)
            self.check()
            self.assertEqual(len(self.spool.changes), 1 if second < 600 else 2)
        self.assertEqual((self.spool.changes[1], self.provider.asked), (("ses", (FAST,)), 3))
        told = [each["rate"] for each in self.events.of("provider.rate")]
        self.assertEqual(told, ["1 recipients in 1 s", "14 recipients in 1 s"])

    def test_not_known(self) -> None:
        """What is not known changes nothing, and is asked for again within a minute."""
        self.provider.told = None
        self.check()
        self.provider.told = (FAST,)
        for second in range(1, 100):
            self.clock.advance(1)
            self.check()
            self.assertEqual(len(self.spool.changes), 0 if second < 60 else 1)

    def test_shares(self) -> None:
        """Workers without a common spool have a part each."""
        self.watch = self.watching(share=4)
        self.check()
        self.assertEqual(self.spool.changes, [("ses", (Window(count=1, seconds=4.0, unit="recipients"),))])

    def test_another_configuration(self) -> None:
        """What comes when another configuration is in force changes nothing."""
        self.provider.told = later = Deferred()
        self.check()
        self.watch.stopping = True
        later.callback((FAST,))
        self.assertEqual(self.spool.changes, [])
