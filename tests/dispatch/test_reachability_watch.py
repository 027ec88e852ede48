from functools import partial

from attrs import evolve
from twisted.internet.defer import Deferred as Waiting
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.reachability_watch import CHECK_EVERY, ReachabilityWatch
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Throttled, Uncertain
from smtprelay.model.queue import LaneState, Unreachable
from smtprelay.net.reachability import Reachability
from smtprelay.service.periodic import every
from smtprelay.spool.engines.memory import open_memory
from smtprelay.spool.engines.spool_options import SpoolOptions
from tests.dispatch.stage import done, make_delivery
from tests.recording import Recording

HOST = "smtp.example.com:587"


class Far:
    """A provider of which only probes are asked; ``mended`` says what they find, ``None`` is a failure."""

    name = "out"

    def __init__(self, reachability) -> None:
        self.reachability = reachability
        self.mended = None
        self.probes = 0
        self.knows = True
        self.says = Delivered()
        self.later = None

    async def probe(self, lane: str):
        self.probes += 1
        if not self.knows:
            return None
        contact = self.reachability.begin(HOST, "connect")
        if self.mended:
            contact.answered()
        else:
            contact.failed(f"connect at {HOST}: refused")
        if self.later is not None:
            await self.later
        return self.says


class ReachWatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.events = Recording()
        self.reachability = Reachability("out", self.clock.seconds)
        self.far = Far(self.reachability)
        self.lanes = LaneStates(self.events)
        self.spool = open_memory(SpoolOptions(rate_limits={}, events=self.events), clock=self.clock)
        self.watch = self.watching()

    def watching(self) -> ReachabilityWatch:
        watch = ReachabilityWatch(
            {"out": self.reachability},
            {"out": self.far},
            self.clock,
            self.events,
            spool=self.spool.admin,
            lanes=self.lanes,
        )
        done(watch.begin())
        self.looking = every(self.clock, self.events, "reachability", CHECK_EVERY, watch.check_providers)
        return watch

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)

    def refuse(self) -> None:
        self.reachability.begin(HOST, "connect").failed(f"connect at {HOST}: refused")

    def failing(self):
        return done(self.spool.admin.stats()).unreachable

    def test_within_half_a_minute(self) -> None:
        """One failure, and no mail for hours: it is probed, told once, and stands in the spool."""
        self.refuse()
        self.pass_time(21)
        [told] = self.events.of("provider.failing")
        self.assertEqual((told["host"], told["stage"]), (HOST, "connect"))
        [line] = self.failing()
        self.assertEqual((line.provider, line.reason), ("out", f"connect at {HOST}: refused"))
        self.assertEqual(line.since, 1_000_000)
        self.pass_time(3600)
        self.assertEqual(len(self.events.of("provider.failing")), 1)
        self.assertLess(self.far.probes, 250)

    def attempt(self, outcome) -> None:
        self.reachability.begin(HOST, "request").answered()
        self.lanes.learn(make_delivery(provider="out"), [outcome], self.clock.seconds())

    def test_defers_all(self) -> None:
        """A provider that answers and takes nothing for minutes is told once; so is when it does again."""
        for _ in range(20):
            self.attempt(Deferred("451 4.3.0 later"))
            self.pass_time(60)
        [told] = self.events.of("provider.failing")
        self.assertEqual((told["trouble"], told["reason"]), ("takes no mail", "451 4.3.0 later"))
        self.assertEqual(self.failing(), [Unreachable("out", 1_000_000, "", "mail", "451 4.3.0 later")])
        self.assertEqual(self.far.probes, 0)
        self.attempt(Delivered())
        self.pass_time(1)
        self.assertEqual(len(self.events.of("provider.recovered")), 1)
        self.assertEqual(self.failing(), [])

    def test_defers_some(self) -> None:
        """One that defers for minutes, now and then, or asked by the relay itself, is no alarm."""
        for outcome in (Deferred("ours", ours=True), Deferred("other", again=True), Uncertain("?")):
            for _ in range(20):
                self.attempt(outcome)
                self.pass_time(60)
        for _ in range(20):
            self.attempt(Deferred("451 greylisted"))
            self.pass_time(60)
            self.attempt(Failed("550 no"))
        for _ in range(3):
            self.attempt(Throttled("429"))
        self.pass_time(599)
        self.assertEqual(self.events.of("provider.failing"), [])
        self.pass_time(2)
        self.assertEqual(len(self.events.of("provider.failing")), 1)
        self.pass_time(7200)
        self.assertEqual(self.failing(), [], "nothing was tried for long")

    def test_defers_all_before_a_restart(self) -> None:
        """The alarm of a provider that takes nothing lasts over a restart, and ends with the first mail."""
        for _ in range(4):
            self.attempt(Deferred("451 later"))
            self.pass_time(300)
        self.assertEqual(len(self.failing()), 1)
        self.looking.stop()
        self.lanes = LaneStates(self.events)
        self.watch = self.watching()
        self.pass_time(30)
        self.assertEqual(len(self.failing()), 1)
        self.attempt(Delivered())
        self.pass_time(1)
        self.assertEqual(self.failing(), [])
        self.assertEqual(len(self.events.of("provider.failing")), 1)

    def test_unreachable_and_deferred(self) -> None:
        """What cannot be reached is that alone; afterwards its deferrals count anew."""
        for _ in range(15):
            self.attempt(Deferred("451 later"))
            self.refuse()
            self.pass_time(60)
        self.assertEqual({line.stage for line in self.failing()}, {"connect"})
        self.far.mended = True
        self.pass_time(20)
        self.assertEqual(self.failing(), [])

    def test_mended(self) -> None:
        """A probe finds that the provider is there again; that is told once, and the spool forgets it."""
        self.refuse()
        self.pass_time(25)
        self.far.mended = True
        self.pass_time(16)
        [told] = self.events.of("provider.recovered")
        self.assertGreaterEqual(told["seconds"], 20)
        self.assertEqual(self.failing(), [])
        probes = self.far.probes
        self.pass_time(100)
        self.assertEqual(self.far.probes, probes)

    def test_answered_by_a_refusal(self) -> None:
        """A provider that answers the probe, but refuses us, is blocked before its mail is made due."""
        self.refuse()
        self.pass_time(25)
        self.far.mended, self.far.says, self.far.later = True, Blocked("401 wrong key"), Waiting()
        self.pass_time(12)
        self.assertEqual((self.far.probes, self.events.of("provider.recovered")), (3, []))
        self.far.later.callback(None)
        self.pass_time(1)
        told = [event for event, _ in self.events.heard]
        self.assertEqual(told, ["provider.failing", "lane.blocked", "provider.recovered"])
        [lane] = done(self.spool.admin.stats()).lanes
        self.assertEqual((lane.provider, lane.lane, lane.blocked_reason), ("out", "", "401 wrong key"))
        self.assertEqual(self.failing(), [])

    def test_a_probe_that_hangs(self) -> None:
        """A provider that is reached by others meanwhile recovers; suspended, it is not blocked."""
        self.refuse()
        self.pass_time(25)
        self.far.mended, self.far.says, self.far.later = True, Blocked("401 wrong key"), Waiting()
        self.pass_time(30)
        self.assertEqual(
            [event for event, _ in self.events.heard], ["provider.failing", "provider.recovered"]
        )
        self.lanes.suspend([("out", "")])
        self.far.later.callback(None)
        self.assertEqual(self.events.of("lane.blocked"), [])

    def test_probed_by_an_operator(self) -> None:
        """A provider is asked once at the next look, as often as that is wanted; its refusal blocks it."""
        self.refuse()
        self.pass_time(25)
        self.far.mended, self.far.says, self.far.later = True, Blocked("401 wrong key"), Waiting()
        probes = self.far.probes
        for _ in range(3):
            self.watch.probe_soon("out")
            self.pass_time(1)
        self.assertEqual(self.far.probes, probes + 1)
        self.far.later.callback(None)
        self.pass_time(1)
        self.assertEqual((self.far.probes, len(self.events.of("lane.blocked"))), (probes + 1, 1))

    def test_not_reached_and_blocked(self) -> None:
        """Where the probe reaches nobody, what it makes of that blocks nothing."""
        self.far.says = Blocked("no connection")
        self.refuse()
        self.pass_time(60)
        self.assertEqual([event for event, _ in self.events.heard], ["provider.failing"])

    def test_a_block_that_the_spool_does_not_take(self) -> None:
        """That is told; the provider is reached all the same."""

        async def broken(_block):
            raise OSError("no disk")

        self.spool.admin.block = broken
        self.refuse()
        self.pass_time(25)
        self.far.mended, self.far.says = True, Blocked("401 wrong key")
        self.pass_time(16)
        self.assertEqual(
            self.events.of("spool.failed"), [{"operation": "note_reachability", "reason": "no disk"}]
        )
        self.assertEqual(self.failing(), [])

    def test_a_single_failure(self) -> None:
        """What the first probe finds to be over is told to nobody."""
        self.far.mended = True
        self.refuse()
        self.pass_time(60)
        self.assertEqual(self.events.heard, [])
        self.assertEqual(self.far.probes, 1)

    def test_what_only_a_mail_can_tell(self) -> None:
        """Where a probe knows nothing, a failure counts until a mail gets through."""
        self.far.knows = False
        self.refuse()
        self.pass_time(21)
        self.assertEqual(len(self.events.of("provider.failing")), 1)
        self.reachability.begin(HOST, "connect").answered()
        self.pass_time(1)
        self.assertEqual(len(self.events.of("provider.recovered")), 1)

    def test_a_stage_that_changes(self) -> None:
        """It is one alarm; the spool has the newest reason."""
        contact = self.reachability.begin(HOST, "connect")
        self.pass_time(21)
        contact.at("greeting")
        self.pass_time(1)
        self.reachability.begin(HOST, "greeting")
        contact.failed(f"greeting at {HOST}: gone")
        self.pass_time(1)
        self.assertEqual(self.failing()[0].stage, "greeting")
        self.assertEqual(self.events.of("provider.recovered"), [])

    def test_a_spool_that_fails(self) -> None:
        """What could not be written down is tried at the next look."""
        write = self.spool._writer.do

        def broken(_operation):
            raise OSError("no disk")

        self.spool._writer.do = broken
        self.refuse()
        self.pass_time(25)
        self.assertEqual(self.events.of("provider.failing"), [])
        self.assertEqual(self.events.of("task.failed")[0]["task"], "reachability")
        self.spool._writer.do = write
        self.pass_time(1)
        self.assertEqual(len(self.events.of("provider.failing")), 1)

    def test_suspended(self) -> None:
        """A suspended provider is left alone: nothing is told of it, and what was told ends silently."""
        self.refuse()
        self.pass_time(25)
        self.lanes.suspend([("out", "")])
        probes = self.far.probes
        self.pass_time(1)
        self.assertEqual(self.failing(), [])
        self.refuse()
        self.pass_time(600)
        self.assertEqual((self.far.probes, self.failing()), (probes, []))
        self.assertEqual([event for event, _ in self.events.heard], ["provider.failing"])

    def test_a_restart(self) -> None:
        """The alarm lasts, without being told again; that the provider is mended is seen within seconds."""
        self.refuse()
        self.pass_time(25)
        self.looking.stop()
        self.reachability.answered()
        done(self.spool.admin.note_reachability("gone", Unreachable("gone", 5.0, HOST, "connect", "refused")))
        self.watch = self.watching()
        self.pass_time(1)
        self.assertEqual([each.provider for each in self.failing()], ["out"])
        self.far.mended = True
        self.pass_time(16)
        self.assertEqual(self.failing(), [])
        told = [event for event, _ in self.events.heard]
        self.assertEqual(told, ["provider.failing", "provider.recovered"])

    def test_a_watch_that_does_not_come_into_force(self) -> None:
        """It begins, and leaves all alarms as they are, also of a provider that it does not have."""
        done(self.spool.admin.note_reachability("gone", Unreachable("gone", 5.0, HOST, "connect", "refused")))
        other = ReachabilityWatch({}, {}, self.clock, self.events, spool=self.spool.admin, lanes=self.lanes)
        done(other.begin())
        self.assertEqual([each.provider for each in self.failing()], ["gone"])
        done(other.check_providers())
        self.assertEqual(self.failing(), [])

    def test_what_waits_at_a_start(self) -> None:
        """A provider for which mail waited before is probed once; for new mail it is not."""
        self.far.mended = True
        self.looking.stop()
        nothing = done(self.spool.admin.stats())
        lane = LaneState(
            provider="out", lane="", waiting=1, active=0, due=None, blocked_until=None, blocked_reason=""
        )
        waiting = evolve(nothing, lanes=[lane])
        for before, probes in ((nothing, 0), (waiting, 1)):
            self.spool.admin.stats = partial(succeed, before)
            self.watching()
            self.spool.admin.stats = partial(succeed, waiting)
            self.pass_time(60)
            self.assertEqual(self.far.probes, probes)
            self.looking.stop()

    def test_resumed(self) -> None:
        """It counts anew from there; that nobody was asked is not noted as an answer."""
        noted, note = [], self.spool.admin.note_reachability
        self.spool.admin.note_reachability = lambda *news: noted.append(news) or note(*news)
        self.lanes.suspend([("out", "")])
        self.refuse()
        self.pass_time(600)
        self.lanes.suspend([])
        self.pass_time(100)
        self.assertEqual(noted, [])
        self.assertEqual(self.events.of("provider.failing"), [])
        self.refuse()
        self.pass_time(21)
        self.assertEqual(len(self.events.of("provider.failing")), 1)

    def test_reached_after_it_was_resumed(self) -> None:
        """What could not be sent goes at its first answer, and not before."""
        noted = []
        note = self.spool.admin.note_reachability
        self.spool.admin.note_reachability = lambda *given: noted.append(given) or note(*given)
        self.reachability.begin(HOST, "connect").answered()
        self.pass_time(1)
        self.lanes.suspend([("out", "")])
        self.pass_time(5)
        self.lanes.suspend([])
        self.refuse()
        noted.clear()
        self.pass_time(3)
        self.assertEqual(noted, [])
        self.far.mended = True
        self.pass_time(5)
        self.assertEqual(noted, [("out", None)])

    def test_a_clock_that_was_put(self) -> None:
        """It is one alarm, and the provider is probed as often as before."""
        self.refuse()
        self.pass_time(25)
        self.clock.rightNow -= 7200
        self.looking.stop()
        self.looking.start(CHECK_EVERY, now=False)
        self.watch.clock_stepped(-7200)
        self.far.mended = True
        self.pass_time(16)
        self.assertEqual(
            [event for event, _ in self.events.heard], ["provider.failing", "provider.recovered"]
        )
        self.assertLess(self.events.of("provider.recovered")[0]["seconds"], 60)
