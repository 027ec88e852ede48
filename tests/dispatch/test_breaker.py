"""A stopped lane costs its provider nothing until its time has come, and then one question."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.breaker import Breaker
from smtprelay.dispatch.lanes import Lanes
from smtprelay.message import Blocked, Delivered, Failed, Outcome, Uncertain
from smtprelay.message import Deferred as Later
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import MORNING, make_delivery
from tests.recording import Recording


class BreakerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(MORNING)
        self.events = Recording()
        self.one = ScriptedProvider("one")
        self.breaker = Breaker(Lanes(self.events), {"one": self.one}, self.clock, self.events)

    def learn(self, *outcomes: Outcome, lane: str = "") -> None:
        self.breaker.learn(make_delivery(lane=lane), outcomes)

    def admit(self, lane: str = "") -> str:
        reason: str = self.successResultOf(self.breaker.admit("one", lane))
        return reason

    def told(self) -> list[str]:
        return [name for name, _ in self.events.heard if name.startswith("lane.")]

    def test_open(self) -> None:
        """Where nothing was found wrong everything goes, and nobody is asked."""
        self.learn(Delivered(), Failed("no such user"))
        self.assertEqual((self.breaker.reason("one", ""), self.admit(), self.one.calls), ("", "", []))

    def test_blocked(self) -> None:
        """The reason is told at once, again and again, and the event once; other lanes go on."""
        self.learn(Blocked("401 no such key", lane="ann"), lane="ann")
        self.learn(Blocked("401 no such key", lane="ann"), lane="ann")
        self.assertEqual((self.admit("ann"), self.admit("ann")), ("401 no such key",) * 2)
        self.assertEqual((self.admit("bob"), self.breaker.reason("one", "bob")), ("", ""))
        self.assertEqual((self.told(), self.one.calls), (["lane.blocked"], []))

    def test_whole_provider(self) -> None:
        """What stops the provider stops each of its lanes."""
        self.learn(Blocked("account disabled"), lane="ann")
        self.assertEqual(self.admit("bob"), "account disabled")

    def test_probe_finds_it_works(self) -> None:
        """When its time has come the first mail has it probed, and it is open for all."""
        self.learn(Blocked("401"))
        self.one.verdicts.append(Delivered())
        self.clock.advance(30)
        self.assertEqual(self.breaker.reason("one", ""), "")
        self.assertEqual((self.admit(), self.admit()), ("", ""))
        self.assertEqual((self.one.calls, self.told()), ([("probe", "")], ["lane.blocked", "lane.unblocked"]))

    def test_probe_finds_it_does_not(self) -> None:
        """It stays stopped, for longer each time, for the reason that the probe gave."""
        self.learn(Blocked("401"))
        self.one.verdicts += [Blocked("403"), Later("no answer")]
        self.clock.advance(30)
        self.assertEqual(self.admit(), "403")
        self.clock.advance(59)
        self.assertEqual(self.admit(), "403")
        self.clock.advance(1)
        self.assertEqual(self.admit(), "no answer")
        self.assertEqual((len(self.one.calls), self.told()), (2, ["lane.blocked"]))

    def test_one_probe(self) -> None:
        """While one mail waits for the probe, the others are told what is known."""
        self.learn(Blocked("401"))
        answer: Deferred[Outcome | None] = Deferred()
        self.one.verdicts.append(answer)
        self.clock.advance(30)
        first = Deferred.fromCoroutine(self.breaker.admit("one", ""))
        self.assertEqual(self.admit(), "401")
        answer.callback(Delivered())
        self.assertEqual((self.successResultOf(first), len(self.one.calls)), ("", 1))

    def test_only_a_mail_can_tell(self) -> None:
        """One mail goes alone; when it is answered the lane is open."""
        self.learn(Blocked("535"))
        self.clock.advance(30)
        self.assertEqual((self.admit(), self.admit()), ("", "535"))
        self.learn(Delivered())
        self.assertEqual((self.admit(), self.told()), ("", ["lane.blocked", "lane.unblocked"]))

    def test_the_mail_did_not_tell(self) -> None:
        """If nothing came of it the lane is still in doubt: after a while another one tries."""
        self.learn(Blocked("535"))
        self.clock.advance(30)
        self.assertEqual(self.admit(), "")
        self.learn(Uncertain("cut"))
        self.assertEqual(self.admit(), "535")
        self.clock.advance(30)
        self.assertEqual(self.admit(), "")
        self.assertEqual(self.told(), ["lane.blocked"])

    def test_the_mail_found_it_blocked(self) -> None:
        """The lane is stopped for longer, without a second alarm."""
        self.learn(Blocked("535"))
        self.clock.advance(30)
        self.admit()
        self.learn(Blocked("535 still"))
        self.clock.advance(59)
        self.assertEqual((self.admit(), self.told()), ("535 still", ["lane.blocked"]))

    def test_late_success_proves_nothing(self) -> None:
        """What was under way when the lane was stopped does not open it."""
        self.learn(Blocked("401"))
        self.learn(Delivered())
        self.assertEqual(self.admit(), "401")

    def test_pause(self) -> None:
        """A provider that asked us to wait is not asked, and then is, without a probe or an alarm."""
        self.learn(Later("429", retry_after=20.0))
        self.assertEqual(self.admit(), "asked to wait: 429")
        self.clock.advance(20)
        self.assertEqual((self.admit(), self.one.calls, self.told()), ("", [], []))

    def test_a_probe_that_breaks(self) -> None:
        """A bug of a provider is told in the log, and leaves the lane stopped."""
        self.learn(Blocked("401"))
        self.one.verdicts.append(ValueError("oops"))
        self.clock.advance(30)
        self.assertEqual(self.admit(), "ValueError: oops")
        self.assertIn("oops", str(self.events.of("relay.warning")))
