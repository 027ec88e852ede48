from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.model.attempt import Block
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Throttled, Uncertain
from tests.dispatch.stage import MORNING, make_delivery
from tests.recording import Recording


class LanesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events = Recording()
        self.lanes = LaneStates(self.events)
        self.delivery = make_delivery(lane="box")

    def learn(self, outcome: object, later: float = 0.0) -> Block | None:
        return self.lanes.learn(self.delivery, [outcome], MORNING + later)  # type: ignore[list-item]

    def test_blocked_stops_the_lane_it_names(self) -> None:
        """The provider says whether it is the mailbox or the account; its words are the reason."""
        block = self.learn(Blocked("secret expired", lane="box"))
        self.assertEqual(
            block, Block(provider="one", lane="box", until=MORNING + 30, reason="secret expired")
        )
        self.assertEqual(len(self.events.of("lane.blocked")), 1)

    def test_what_was_under_way_does_not_stop_it_for_longer(self) -> None:
        """Ten mails that fail together are one finding, and one alarm."""
        blocks = [self.learn(Blocked("x", lane="box"), later=n) for n in range(10)]
        self.assertEqual({block.until for block in blocks if block}, {MORNING + 30})
        self.assertEqual(len(self.events.of("lane.blocked")), 1)

    def test_each_probe_that_fails_doubles_the_time(self) -> None:
        """Without another alarm: nothing has changed."""
        self.learn(Blocked("x", lane="box"))
        again = self.lanes.block("one", "box", "x", MORNING + 30, probed=True)
        more = self.lanes.block("one", "box", "x", MORNING + 90, probed=True)
        self.assertEqual((again.until, more.until), (MORNING + 90, MORNING + 210))
        self.assertEqual(len(self.events.of("lane.blocked")), 1)

    def test_lanes_of_removed_providers_are_forgotten(self) -> None:
        """What is known of the lanes of a provider goes with it; of the others it stays."""
        self.learn(Blocked("x", lane="box"))
        self.lanes.keep({"one", "two"})
        self.assertTrue(self.lanes.is_blocked("one", "box"))
        self.lanes.keep({"two"})
        self.assertFalse(self.lanes.is_blocked("one", "box"))

    def test_a_reason_is_never_empty(self) -> None:
        """An empty one would open the lane."""
        block = self.learn(Blocked("", lane="box"))
        assert block is not None
        self.assertEqual(block.reason, "no reason was given")

    def test_a_success_of_before_proves_nothing(self) -> None:
        """What was under way when the lane was stopped may still succeed; the lane stays stopped."""
        self.learn(Blocked("x", lane="box"))
        self.learn(Delivered(), later=1)
        self.assertTrue(self.lanes.stopped("one", "box", MORNING + 2))
        self.assertEqual(self.events.of("lane.unblocked"), [])

    def test_the_mail_that_was_let_through_decides(self) -> None:
        """Delivered opens the lane, once; blocked stops it for twice the time."""
        self.learn(Blocked("x", lane="box"))
        self.assertTrue(self.lanes.try_one("one", "box", MORNING + 30).trial)
        again = self.learn(Blocked("x", lane="box"), later=31)
        assert again is not None
        self.assertEqual(again.until, MORNING + 91)
        self.lanes.try_one("one", "box", MORNING + 91)
        self.learn(Uncertain("cut"), later=92)
        self.assertEqual(self.events.of("lane.unblocked"), [])
        self.learn(Delivered(), later=93)
        self.learn(Delivered(), later=94)
        self.assertEqual(self.events.of("lane.unblocked"), [{"provider": "one", "lane": "box"}])

    def test_senders_fill_no_memory(self) -> None:
        """Of too many lanes that senders have named, those whose time is over are forgotten."""
        for number in range(10_002):
            self.learn(Blocked("x", lane=f"setup:d{number}"), later=number * 0.001)
        self.learn(Blocked("x", lane="setup:last"), later=10_000)
        self.assertEqual(len(self.lanes._stops), 1)

    def test_a_blocked_provider_stops_all_its_lanes(self) -> None:
        """And no other provider's."""
        self.learn(Blocked("account closed"))
        stopped = [self.lanes.stopped(name, lane, MORNING) for name, lane in (("one", "box"), ("two", "box"))]
        self.assertEqual(stopped, [True, False])

    def test_retry_after_pauses_the_lane(self) -> None:
        """It is no alarm, and no probe is needed when it is over."""
        block = self.learn(Deferred("429 slow down", retry_after=212.0))
        self.assertEqual(
            block,
            Block(provider="one", lane="box", until=MORNING + 212, reason="asked to wait: 429 slow down"),
        )
        self.assertEqual(self.events.heard, [])
        self.assertTrue(self.lanes.end_pause("one", "box"))
        self.assertFalse(self.lanes.end_pause("one", "box"))

    def test_throttled_says_which_lane(self) -> None:
        """The account is asked for too much, or one mailbox: that lane waits as long as the provider asks."""
        for lane in ("", "box"):
            block = self.learn(Throttled("429", 20.0, lane=lane))
            expected = Block(provider="one", lane=lane, until=MORNING + 20, reason="asked to wait: 429")
            self.assertEqual(block, expected)
        told = [event["lane"] for event in self.events.of("lane.throttled")]
        self.assertEqual(told, ["", "box"])

    def test_the_longest_pause_holds(self) -> None:
        """A later answer with a shorter Retry-After does not let the lane run too early."""
        self.learn(Deferred("429", retry_after=212.0))
        block = self.learn(Deferred("429", retry_after=5.0), later=1)
        assert block is not None
        self.assertEqual(block.until, MORNING + 212)

    def test_a_pause_does_not_replace_a_block(self) -> None:
        """A lane that is blocked waits for its probe; a paused one can become blocked."""
        self.learn(Deferred("429", retry_after=212.0))
        self.assertIsNotNone(self.learn(Blocked("x", lane="box")))
        self.assertIsNone(self.learn(Deferred("429", retry_after=212.0)))
        self.assertFalse(self.lanes.end_pause("one", "box"))

    def test_a_deferral_without_retry_after_stops_nothing(self) -> None:
        """It says something about one mail."""
        self.assertIsNone(self.learn(Deferred("busy")))
        self.assertFalse(self.lanes.stopped("one", "box", MORNING))
