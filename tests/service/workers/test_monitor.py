"""The processes of the workers, without processes."""

from typing import Any

from attrs import define, field
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.service.workers.heartbeat import ALIVE, CHECK_EVERY, MOST_MISSED, READY, WAITING
from smtprelay.service.workers.monitor import Monitor, Worker, command
from smtprelay.service.workers.sockets import HEARTBEAT, LIFELINE, MEMORY

PATIENCE = 40.0
BOUND = CHECK_EVERY * MOST_MISSED


@define
class Process:
    """A process that does what a test says."""

    life: Any
    arguments: list[str]
    descriptors: dict[int, Any]
    pid: int
    signals: list[str] = field(factory=list)
    ended: bool = False

    def signalProcess(self, name: str) -> None:
        if self.ended:
            raise ProcessExitedAlready
        self.signals.append(name)
        if name == "KILL":
            self.end(None, 9)

    def say(self, what: bytes) -> None:
        """Tell the monitor something."""
        self.life.childDataReceived(HEARTBEAT, what)

    def end(self, status: int | None, signal: int | None = None) -> None:
        """End with a status, or by a signal."""
        self.ended = True
        why = ProcessDone(0) if status == 0 else ProcessTerminated(status, signal)
        self.life.processEnded(Failure(why))


class Spawning(Clock):
    """A reactor that starts :class:`Process`."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[Process] = []
        self.fault: OSError | None = None

    def spawnProcess(
        self,
        life: Any,
        _executable: str,
        args: list[str],
        childFDs: dict[int, Any],  # noqa: N803 -- Twisted's
        **_: object,
    ) -> Process:
        if self.fault is not None:
            raise self.fault
        process = Process(life, args, childFDs, 1000 + len(self.started))
        self.started.append(process)
        life.makeConnection(process)
        return process


class MonitorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Spawning()
        self.told: list[tuple[Any, ...]] = []
        self.stops_at_death = False
        self.monitor = self.watching(workers=2, most=3)

    def watching(self, workers: int, most: int) -> Monitor:
        """Return a monitor that has started its workers."""
        monitor = Monitor(
            reactor=self.reactor,
            workers=[Worker(number, f"control.sock.{number}") for number in range(1, workers + 1)],
            command=["worker", "--config=x"],
            inherited={MEMORY: 30, 6: 40},
            restarts_per_hour=most,
            patience=PATIENCE,
            owner=self,
        )
        monitor.start()
        return monitor

    def worker_waits(self, worker: Worker) -> None:
        self.told.append(("waiting", worker.number))

    def worker_ready(self, worker: Worker) -> None:
        self.told.append(("ready", worker.number))

    def worker_unresponsive(self, worker: Worker) -> None:
        self.told.append(("unresponsive", worker.number))

    def worker_died(self, worker: Worker) -> None:
        """Note all that is known; a test may stop everything here."""
        self.told.append(("died", worker.number, worker.status, worker.reason, self.monitor.deaths))
        if self.stops_at_death:
            self.monitor.stop()

    def too_many_died(self) -> None:
        self.told.append(("too many",))
        self.monitor.stop()

    def look(self, *alive: "Process", times: int = 1) -> None:
        """Let time pass in which ``alive`` are heard."""
        for _ in range(times):
            for process in alive:
                process.say(ALIVE)
            self.reactor.advance(CHECK_EVERY)

    def test_what_a_worker_has(self) -> None:
        """Its number, our three streams, the pipes, the memory, and the sockets."""
        process = self.reactor.started[1]
        self.assertEqual(process.arguments, ["worker", "--config=x", "--number=2"])
        wanted = {0: 0, 1: 1, 2: 2, LIFELINE: "w", HEARTBEAT: "r", MEMORY: 30, 6: 40}
        self.assertEqual(process.descriptors, wanted)
        told = command("relay.yaml", ["a.b=c"], {6: "lan"})
        self.assertEqual(told[-3:], ["--config=relay.yaml", "--set=a.b=c", "--socket=6=lan"])

    def test_what_it_says(self) -> None:
        """A byte each, however they come together."""
        one, two = self.reactor.started
        one.say(ALIVE + WAITING + ALIVE)
        two.say(READY)
        one.say(ALIVE)
        one.say(ALIVE + READY)
        self.assertEqual(self.told, [("waiting", 1), ("ready", 2), ("ready", 1)])

    def test_hang_up(self) -> None:
        """SIGHUP goes to those that know what to do with it; to others when they do, once."""
        one, two = self.reactor.started
        one.say(ALIVE)
        self.monitor.hang_up()
        self.assertEqual((one.signals, two.signals), (["HUP"], []))
        two.say(ALIVE)
        two.say(ALIVE)
        self.assertEqual((one.signals, two.signals), (["HUP"], ["HUP"]))
        one.ended = True
        self.monitor.hang_up()
        self.assertEqual((one.signals, two.signals), (["HUP"], ["HUP", "HUP"]))

    def test_one_that_hangs(self) -> None:
        """It is killed, has died then as any other, and the next one is not held to what it said."""
        one, two = self.reactor.started
        one.say(READY)
        self.told.clear()
        self.look(two, times=MOST_MISSED)
        self.assertEqual(one.signals, [])
        self.look(two)
        self.assertEqual(one.signals, ["KILL"])
        self.assertEqual(self.told, [("unresponsive", 1), ("died", 1, None, "killed by SIGKILL", 1)])
        self.reactor.advance(1.0)
        self.assertEqual(self.reactor.started[2].arguments[2], "--number=1")
        self.look(two, times=3 * MOST_MISSED)
        self.assertEqual((two.signals, self.reactor.started[2].signals), ([], []))

    def test_one_that_was_never_heard(self) -> None:
        """To start may take as long as it takes."""
        self.look(times=10 * MOST_MISSED)
        self.assertEqual((self.told, self.reactor.started[0].signals), ([], []))

    def test_a_break(self) -> None:
        """A machine that slept, or a clock that was set forward, is no silence: nobody has looked."""
        one, two = self.reactor.started
        self.look(one, two, times=MOST_MISSED)
        self.reactor.advance(86400.0)
        self.look(one, two, times=MOST_MISSED)
        self.assertEqual(self.told, [])

    def test_restarts(self) -> None:
        """Who dies soon comes back more and more slowly; who has lived for a while at once."""
        monitor, started = self.watching(workers=1, most=100), self.reactor.started
        for delay in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
            count = len(started)
            started[-1].end(1)
            self.reactor.advance(delay - 0.25)
            self.assertEqual(len(started), count)
            self.reactor.advance(0.25)
            self.assertEqual(len(started), count + 1)
        for _ in range(2):
            self.reactor.advance(10.0)
            started[-1].end(1)
            self.reactor.advance(0.0)
            self.assertEqual(len(started), count + 2)
            count += 1
        self.assertEqual(monitor.deaths, 11)

    def test_one_that_cannot_be_started(self) -> None:
        """It counts as a death, and is tried again."""
        self.reactor.started[0].end(1)
        self.reactor.fault = OSError("no memory")
        self.reactor.advance(0.5)
        self.assertEqual(self.told[-1], ("died", 1, None, "it cannot be started: no memory", 2))
        self.reactor.fault = None
        self.reactor.advance(1.0)
        self.assertEqual(self.reactor.started[-1].arguments[2], "--number=1")

    def test_none_can_be_started(self) -> None:
        """After one death too many nobody is tried any more."""
        self.reactor.fault = OSError("no memory")
        self.told.clear()
        self.monitor = self.watching(workers=2, most=0)
        self.assertEqual([what for what, *_ in self.told], ["died", "too many"])
        self.assertEqual(len(self.reactor.started), 2)

    def test_too_many(self) -> None:
        """One death more than allowed is told once, and nobody is started again."""
        for number in range(4):
            self.reactor.started[-1].end(1)
            self.reactor.advance(60.0)
            self.assertEqual(self.told.count(("too many",)), number // 3)
        self.assertEqual(len(self.reactor.started), 5)

    def test_too_many_within_an_hour(self) -> None:
        """Deaths are counted by the hour, also when the clock is set meanwhile."""
        for _ in range(6):
            self.reactor.started[-1].end(1)
            self.reactor.advance(1200.0)
        self.assertEqual((self.told.count(("too many",)), self.monitor.deaths), (0, 3))
        self.reactor.rightNow += 7200
        self.monitor.clock_stepped(7200)
        self.reactor.started[-1].end(1)
        self.assertEqual(self.monitor.deaths, 3)

    def test_too_many_of_what_is_being_stopped(self) -> None:
        """Who stops everything because of a death need not hear that it was one too many."""
        self.stops_at_death = True
        self.monitor = self.watching(workers=1, most=0)
        self.reactor.started[-1].end(None, 9)
        self.assertNotIn(("too many",), self.told)

    def test_one_that_does_not_end(self) -> None:
        """It is killed when the patience is over."""
        one, two = self.reactor.started
        stopped = self.monitor.stop()
        one.end(0)
        self.reactor.advance(PATIENCE - 1)
        self.assertEqual(two.signals, ["TERM"])
        self.reactor.advance(1)
        self.assertEqual(two.signals, ["TERM", "KILL"])
        self.successResultOf(stopped)

    def test_stopped_before_a_restart(self) -> None:
        """Who would be restarted later is not."""
        for process in self.reactor.started:
            process.end(1)
        self.successResultOf(self.monitor.stop())
        self.reactor.advance(60.0)
        self.assertEqual((len(self.reactor.started), self.reactor.getDelayedCalls()), (2, []))

    def test_stop(self) -> None:
        """All are told to end; it is over when the last one has."""
        one, two = self.reactor.started
        one.say(READY)
        stopped = self.monitor.stop()
        self.assertEqual((one.signals, two.signals), (["TERM"], ["TERM"]))
        one.end(0)
        self.assertNoResult(stopped)
        two.end(0)
        self.successResultOf(stopped)
        self.reactor.advance(100.0)
        self.assertEqual((len(self.reactor.started), self.told), (2, [("ready", 1)]))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
