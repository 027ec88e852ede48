"""
The processes of the workers: started, watched, and restarted when they die or hang.

A worker inherits the sockets and the memory of all workers, the end of a pipe that tells it when this process
is gone, and a pipe on which it says that it lives, that it waits for its database, and that it takes mail.
"""

import os
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

import smtprelay
from smtprelay.service.workers import heartbeat
from smtprelay.service.workers.heartbeat import MOST_MISSED, READY, WAITING
from smtprelay.service.workers.sockets import HEARTBEAT, LIFELINE

#: A worker that lived for less than this, in seconds, is restarted after a delay, which doubles each time.
_SHORT_LIFE: Final = 10.0
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 60.0

_HOUR: Final = 3600.0


@define(eq=False)
class Worker(ProcessProtocol):
    """
    One worker and, while there is one, its process.

    :ivar number: from 1.
    :ivar path: of its control socket.
    :ivar pid: of its process; 0 while there is none.
    :ivar waiting: it has reported that it cannot reach its spool's database.
    :ivar ready: it has reported that it takes mail.
    :ivar status: exit status of its last process; ``None`` if a signal ended that.
    :ivar reason: why its last process ended.
    :ivar monitor: is told what its process says, and of its end; set before the process is started.
    """

    number: int
    path: str
    pid: int = field(default=0, init=False)
    waiting: bool = field(default=False, init=False)
    ready: bool = field(default=False, init=False)
    status: int | None = field(default=None, init=False)
    reason: str = field(default="", init=False)
    began: float = field(default=0.0, init=False)
    delay: float = field(default=_FIRST_DELAY, init=False)
    restart: IDelayedCall | None = field(default=None, init=False)
    monitor: "Monitor" = field(init=False)
    #: Checks since its last heartbeat; ``None``: no heartbeat yet, it may still be starting.
    silent: int | None = field(default=None, init=False)
    _hung_up: bool = field(default=False, init=False)

    def connectionMade(self) -> None:
        """Note the process."""
        assert self.transport is not None
        self.pid = self.transport.pid
        self.silent = None
        self._hung_up = False

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803 -- Twisted's
        """Note what it says."""
        if childFD == HEARTBEAT and data:
            self.silent = 0
            if self._hung_up:
                self.hang_up()
            self.monitor.reported(self, data)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 -- Twisted's
        """Note the end."""
        ended: Any = reason.value
        self.status = None if ended.signal else ended.exitCode or 0
        name = signal.Signals(ended.signal).name if ended.signal else ""
        self.reason = f"killed by {name}" if name else f"exit status {self.status}"
        self.monitor.ended(self)

    def hang_up(self) -> None:
        """Send SIGHUP, which would end a process without a heartbeat yet: that gets it later."""
        self._hung_up = self.silent is None
        if not self._hung_up:
            self.send("HUP")

    def send(self, name: str) -> None:
        """Send a signal to its process, if there is one."""
        if self.pid and self.transport is not None:
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess(name)


class MonitorOwner(Protocol):
    """Hears what happens to workers, until they are to stop."""

    def worker_waits(self, worker: Worker, /) -> None:
        """It cannot reach its spool's database."""

    def worker_ready(self, worker: Worker, /) -> None:
        """It takes mail."""

    def worker_unresponsive(self, worker: Worker, /) -> None:
        """It sent no heartbeat for long: it is killed, and dies next."""

    def worker_died(self, worker: Worker, /) -> None:
        """Its process has ended; it is restarted."""

    def too_many_died(self) -> None:
        """Nobody is restarted any more."""


@define(eq=False, kw_only=True)
class Monitor:
    """
    Keeps the processes of ``workers`` running.

    :ivar command: of a worker; its number follows.
    :ivar inherited: file descriptors of ours by what they are called in a worker.
    :ivar restarts_per_hour: maximum number; after one more the relay stops.
    :ivar patience: seconds that a worker may take to end before it is killed.
    :ivar deaths: how many have died within the last hour.
    """

    reactor: Any
    workers: Sequence[Worker]
    command: Sequence[str]
    inherited: Mapping[int, int]
    restarts_per_hour: int
    patience: float
    owner: MonitorOwner
    _deaths: deque[float] = field(factory=deque, init=False)
    _checking: LoopingCall = field(init=False)
    _stopping: bool = field(default=False, init=False)
    _ended: Deferred[None] | None = field(default=None, init=False)
    _kill: IDelayedCall | None = field(default=None, init=False)

    def start(self) -> None:
        """Start all workers, and look after them from now on."""
        self._checking = LoopingCall(self._check_all)
        self._checking.clock = self.reactor
        self._checking.start(heartbeat.CHECK_EVERY, now=False)
        for worker in self.workers:
            worker.monitor = self
            self._start(worker)

    def stop(self) -> Deferred[None]:
        """Tell all workers to end in order; fires when they have, or were killed after :attr:`patience`."""
        self._stopping = True
        if self._checking.running:
            self._checking.stop()
        for worker in self.workers:
            if worker.restart is not None and worker.restart.active():
                worker.restart.cancel()
            worker.send("TERM")
        self._kill = self.reactor.callLater(self.patience, self.kill)
        ended = self._ended = Deferred()
        self._check_ended()
        return ended

    def hang_up(self) -> None:
        """Send SIGHUP to all workers; one that is starting gets it when it can handle it."""
        for worker in self.workers:
            worker.hang_up()

    def kill(self) -> None:
        """End all workers at once."""
        for worker in self.workers:
            worker.send("KILL")

    def clock_stepped(self, seconds: float) -> None:
        """Correct what was noted of the time, when the clock was set forward by ``seconds``, or back."""
        self._deaths = deque(died + seconds for died in self._deaths)
        for worker in self.workers:
            worker.began += seconds

    @property
    def deaths(self) -> int:
        """How many have died within the last hour."""
        return len(self._deaths)

    def reported(self, worker: Worker, data: bytes) -> None:
        """Note what a worker reports, a byte for each thing."""
        if WAITING in data:
            worker.waiting, worker.ready = True, False
            self.owner.worker_waits(worker)
        if READY in data:
            worker.waiting, worker.ready = False, True
            self.owner.worker_ready(worker)

    def ended(self, worker: Worker) -> None:
        """Restart a worker that should not have ended."""
        now = self.reactor.seconds()
        worker.waiting, worker.ready, worker.silent = False, False, None
        if not self._stopping:
            self._deaths.append(now)
            while self._deaths[0] <= now - _HOUR:
                self._deaths.popleft()
            self.owner.worker_died(worker)
        worker.pid = 0
        if not self._stopping and self.deaths > self.restarts_per_hour:
            self._stopping = True
            self.owner.too_many_died()
        elif not self._stopping:
            delay = 0.0
            if now - worker.began < _SHORT_LIFE:
                delay, worker.delay = worker.delay, min(2 * worker.delay, _LONGEST_DELAY)
            else:
                worker.delay = _FIRST_DELAY
            worker.restart = self.reactor.callLater(delay, self._start, worker)
        self._check_ended()

    def _start(self, worker: Worker) -> None:
        if self._stopping:
            return
        worker.began = self.reactor.seconds()
        try:
            self.reactor.spawnProcess(
                worker,
                self.command[0],
                [*self.command, f"--number={worker.number}"],
                env=_environment(),
                childFDs={0: 0, 1: 1, 2: 2, LIFELINE: "w", HEARTBEAT: "r", **self.inherited},
            )
        except OSError as error:
            # No memory, or too many processes: that may pass.
            worker.status, worker.reason = None, f"it cannot be started: {error}"
            self.ended(worker)

    def _check_all(self) -> None:
        """
        Kill workers that sent no heartbeat for long.

        Looks are counted, not seconds: a machine that slept, a container that was paused or a clock that was
        set stops both sides, and no worker seems dead.
        """
        for worker in self.workers:
            if worker.silent is None:
                continue
            worker.silent += 1
            if worker.silent > MOST_MISSED:
                worker.silent = None
                self.owner.worker_unresponsive(worker)
                worker.send("KILL")

    def _check_ended(self) -> None:
        if self._ended is not None and not any(worker.pid for worker in self.workers):
            if self._kill is not None and self._kill.active():
                self._kill.cancel()
            ended, self._ended = self._ended, None
            ended.callback(None)


def command(config: str, sets: Sequence[str], sockets: Mapping[int, str]) -> list[str]:
    """Return the command of a worker: ``sockets`` are the listeners by its file descriptors."""
    given = [f"--set={setting}" for setting in sets]
    given += [f"--socket={number}={name}" for number, name in sockets.items()]
    return [sys.executable, "-P", "-m", "smtprelay.entry", f"--config={config}", *given]


def _environment() -> dict[str, str]:
    """Return our own environment, in which a worker finds the same package."""
    root = str(Path(*smtprelay.__path__).parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
