"""The processes of the workers, without processes."""

from typing import Any

from attrs import define, field
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.service.workers.heartbeat import ALIVE, LOOK_EVERY, MOST_LOOKS, READY, WAITING
from smtprelay.service.workers.process_monitor import Monitor, WorkerCallbacks
from smtprelay.service.workers.sockets import LIFELINE, MEMORY, NEWS


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
        self.life.childDataReceived(NEWS, what)

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

    def spawnProcess(
        self,
        life: Any,
        _executable: str,
        args: list[str],
        childFDs: dict[int, Any],  # noqa: N803 -- Twisted's
        **_: object,
    ) -> Process:
        process = Process(life, args, childFDs, 1000 + len(self.started))
        self.started.append(process)
        life.makeConnection(process)
        return process


class MonitorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Spawning()
        self.told: list[tuple[Any, ...]] = []
        self.monitor = self.watching(workers=2, most=3)

    def watching(self, workers: int, most: int) -> Monitor:
        """Return a monitor that has started its workers."""
        lives = WorkerCallbacks(
            began=lambda *_: None,
            waiting=lambda number: self.told.append(("waiting", number)),
            ready=lambda number: self.told.append(("ready", number)),
            silent=lambda number, pid: self.told.append(("silent", number, pid)),
            died=lambda number, _pid, status, why, deaths: self.told.append(
                ("died", number, status, why, deaths)
            ),
            enough=lambda: (self.told.append(("enough",)), monitor.stop()),
        )
        monitor = Monitor(
            self.reactor,
            ["worker"],
            30,
            {"lan": 40},
            lives,
            workers=workers,
            restarts_per_hour=most,
            patience=40.0,
        )
        monitor.start()
        return monitor

    def test_what_a_worker_has(self) -> None:
        """Its number, our three streams, the pipes, the memory, and the sockets by their names."""
        process = self.reactor.started[1]
        self.assertEqual(process.arguments, ["worker", "--number=2", "--socket=6=lan"])
        wanted = {0: 0, 1: 1, 2: 2, LIFELINE: "w", NEWS: "r", MEMORY: 30, 6: 40}
        self.assertEqual(process.descriptors, wanted)

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

    def test_one_that_stands_still(self) -> None:
        """It is killed, has died then as any other, and the next one is not held to what it said."""
        one, two = self.reactor.started
        one.say(READY)
        self.told.clear()
        for _ in range(MOST_LOOKS + 1):
            two.say(ALIVE)
            self.reactor.advance(LOOK_EVERY)
        self.assertEqual(one.signals, ["KILL"])
        self.assertEqual(self.told, [("silent", 1, 1000), ("died", 1, None, "killed by SIGKILL", 1)])
        self.reactor.advance(1.0)
        self.assertEqual(self.reactor.started[2].arguments[1], "--number=1")
        for _ in range(3 * MOST_LOOKS):
            two.say(ALIVE)
            self.reactor.advance(LOOK_EVERY)
        self.assertEqual((two.signals, self.reactor.started[2].signals), ([], []))

    def test_enough(self) -> None:
        """One death more than allowed is told once, and nobody is started again."""
        for number in range(4):
            self.reactor.started[-1].end(1)
            self.reactor.advance(60.0)
            self.assertEqual(self.told.count(("enough",)), number // 3)
        self.assertEqual(len(self.reactor.started), 5)

    def test_enough_of_what_is_being_stopped(self) -> None:
        """Who stops everything because of a death need not hear that it was one too many."""
        died, monitor = self.told.append, self.watching(workers=1, most=0)
        monitor._lives.died = lambda *told: (died(("died", *told)), monitor.stop())
        self.reactor.started[-1].end(None, 9)
        self.assertNotIn(("enough",), self.told)

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
