"""Slots and the pace of synchronous deliveries: who goes, who waits, who is sent away."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.gate import Gate, Patience, Slot
from smtprelay.message import Pace, Window


class GateCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000.0)

    def gate(self, **pace: object) -> Gate:
        return Gate({"acs": Pace(**pace)}, self.clock)

    def enter(self, gate: Gate, lane: str = "", seconds: float = 60.0) -> "Deferred[Slot | None]":
        return Deferred.fromCoroutine(gate.enter("acs", lane, seconds))

    def slot(self, gate: Gate, lane: str = "") -> Slot:
        found = self.successResultOf(self.enter(gate, lane))
        assert found is not None
        return found


class SlotTests(GateCase):
    def test_concurrency(self) -> None:
        """No more than allowed at once; who waits gets the slot that is given back, in order."""
        gate = self.gate(concurrency=2)
        first, second = self.slot(gate), self.slot(gate)
        third, fourth = self.enter(gate), self.enter(gate)
        self.assertNoResult(third)
        first.release()
        self.assertIsNotNone(self.successResultOf(third))
        self.assertNoResult(fourth)
        second.release()
        self.assertIsNotNone(self.successResultOf(fourth))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_given_back_once(self) -> None:
        """A slot that is released twice, as by a provider that has the body, is one slot."""
        gate = self.gate(concurrency=1)
        slot = self.slot(gate)
        slot.release()
        slot.release()
        self.slot(gate)
        self.assertNoResult(self.enter(gate))

    def test_per_lane(self) -> None:
        """A full lane holds back its own, and nobody of another lane behind it."""
        gate = self.gate(concurrency=10, per_lane=1)
        held = self.slot(gate, "ann")
        waiting = self.enter(gate, "ann")
        self.slot(gate, "bob")
        self.assertNoResult(waiting)
        held.release()
        self.assertIsNotNone(self.successResultOf(waiting))

    def test_patience(self) -> None:
        """Who finds no slot in his time is told so, and is not in the way of those behind him."""
        gate = self.gate(concurrency=1)
        held = self.slot(gate)
        waiting = self.enter(gate, seconds=10)
        behind = self.enter(gate, seconds=30)
        self.clock.advance(10)
        self.assertIsNone(self.successResultOf(waiting))
        held.release()
        self.assertIsNotNone(self.successResultOf(behind))

    def test_given_up(self) -> None:
        """A waiter that is cancelled takes no slot."""
        gate = self.gate(concurrency=1)
        held = self.slot(gate)
        waiting = self.enter(gate)
        waiting.cancel()
        self.failureResultOf(waiting)
        held.release()
        self.slot(gate)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Ticking(Clock):
    """A clock that goes on while somebody computes, as real ones do."""

    def seconds(self) -> float:
        self.rightNow += 1e-6
        return super().seconds()


class PaceTests(GateCase):
    def test_time_goes_on(self) -> None:
        """Who may go goes, however often the time is looked at."""
        self.clock = Ticking()
        self.slot(self.gate())
        gate = self.gate(windows=(Window(count=1, seconds=20.0),))
        self.slot(gate)
        waiting = self.enter(gate)
        self.clock.pump([1.0] * 22)
        self.assertIsNotNone(self.successResultOf(waiting))

    def test_window(self) -> None:
        """What is beyond the pace goes when the pace allows it, without anybody asking."""
        gate = self.gate(windows=(Window(count=2, seconds=20.0),))
        self.slot(gate)
        self.slot(gate)
        waiting = self.enter(gate)
        self.clock.pump([1.0] * 19)
        self.assertNoResult(waiting)
        self.clock.pump([1.0] * 3)
        self.assertIsNotNone(self.successResultOf(waiting))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_any_window(self) -> None:
        """In no interval of its length more than its count went, however long the line."""
        gate = self.gate(windows=(Window(count=3, seconds=10.0),))
        went: list[float] = []
        for _ in range(10):
            self.enter(gate).addCallback(lambda slot: slot and went.append(self.clock.seconds()))
        self.clock.pump([0.5] * 110)
        self.assertEqual(len(went), 10)
        crowds = [sum(begin <= other < begin + 10.0 for other in went) for begin in went]
        self.assertLessEqual(max(crowds), 3)

    def test_no_token_in_time(self) -> None:
        """When it is certain that no token comes in time, nobody waits for it."""
        gate = self.gate(windows=(Window(count=1, seconds=3600.0),))
        self.slot(gate)
        self.assertIsNone(self.successResultOf(self.enter(gate, seconds=60.0)))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class PatienceTests(GateCase):
    def test_runs_out(self) -> None:
        """It becomes less with the time, never less than nothing, and may be ended."""
        patience = Patience(self.clock, 10.0)
        self.clock.advance(4)
        self.assertEqual(patience.left, 6.0)
        self.clock.advance(7)
        self.assertEqual(patience.left, 0.0)
        patience = Patience(self.clock, 10.0)
        patience.end()
        self.assertEqual(patience.left, 0.0)
