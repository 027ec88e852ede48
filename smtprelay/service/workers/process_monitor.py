"""
The processes of the workers: started, watched, started again.

Twisted's :class:`~twisted.runner.procmon.ProcessMonitor` does that, with its back-off. What it does not know
is added here: the sockets that a worker inherits, a pipe that ends with us, a pipe on which the worker tells
that it lives and is ready, an end for one that stands still, who died and when, and that enough may be
enough. It imports the reactor: import it late.
"""

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.runner.procmon import ProcessMonitor
from zope.interface import implementer

import smtprelay
from smtprelay.service.workers.heartbeat import READY, WAITING, HeartbeatMonitor
from smtprelay.service.workers.sockets import FIRST_SOCKET, LIFELINE, MEMORY, NEWS

#: Who lives for less than this comes back more and more slowly, seconds.
_SHORT_LIFE: Final = 10.0
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 60.0

_HOUR: Final = 3600.0


@define(kw_only=True)
class WorkerCallbacks:
    """
    What happens to workers, told to whoever is interested.

    :ivar began: number and process id.
    :ivar waiting: number of one that cannot reach its spool's database yet.
    :ivar ready: number.
    :ivar silent: number and process id of one that stands still; it is killed, and has died next.
    :ivar died: number, process id, exit status (``None`` if a signal ended it), why in words, and how many
        have died within the last hour. Not told when they shall end.
    :ivar enough: more died within an hour than is allowed.
    """

    began: Callable[[int, int], object]
    waiting: Callable[[int], object]
    ready: Callable[[int], object]
    silent: Callable[[int, int], object]
    died: Callable[[int, int, int | None, str, int], object]
    enough: Callable[[], object]


class Monitor:
    """
    The processes.

    :param command: of a worker; its number follows, and the sockets.
    :param memory: file descriptor of what workers share.
    :param sockets: file descriptors by listeners' names.
    :param patience: how long a worker that shall end may take before it is killed, seconds.
    """

    def __init__(
        self,
        reactor: Any,
        command: Sequence[str],
        memory: int,
        sockets: Mapping[str, int],
        lives: WorkerCallbacks,
        *,
        workers: int,
        restarts_per_hour: int,
        patience: float,
    ) -> None:
        self._clock: IReactorTime = reactor
        self._lives = lives
        self._most = restarts_per_hour
        self._deaths: deque[float] = deque()
        self._running: dict[int, _WorkerLife] = {}
        self._vigil = HeartbeatMonitor(reactor, self._silent)
        self._stopping = False
        self._ended: Deferred[None] | None = None
        inherited = {MEMORY: memory, **dict(enumerate(sockets.values(), FIRST_SOCKET))}
        names = [f"--socket={number}={name}" for number, name in enumerate(sockets, FIRST_SOCKET)]
        spawning: Any = _Spawning(reactor, self, inherited)
        # Its times are whole seconds by their defaults only.
        monitor: Any = ProcessMonitor(spawning)
        monitor.threshold = _SHORT_LIFE
        monitor.minRestartDelay = _FIRST_DELAY
        monitor.maxRestartDelay = _LONGEST_DELAY
        monitor.killTime = patience
        self._monitor = monitor
        for number in range(1, workers + 1):
            arguments = [*command, f"--number={number}", *names]
            monitor.addProcess(str(number), arguments, env=_environment())

    def start(self) -> None:
        """Start all workers."""
        self._vigil.start()
        self._monitor.startService()

    def stop(self) -> Deferred[None]:
        """Tell all workers to end in order; fires when they have, or were killed after a while."""
        self._stopping = True
        self._vigil.stop()
        self._monitor.stopService()
        ended = self._ended = Deferred()
        self._see_whether_ended()
        return ended

    def hang_up(self) -> None:
        """Send SIGHUP to all workers; one that begins gets it when it knows what to do with it."""
        for life in self._running.values():
            life.hang_up()

    def kill(self) -> None:
        """End all workers at once."""
        for life in self._running.values():
            life.kill()

    def clock_stepped(self, seconds: float) -> None:
        """Go on counting deaths and lives when the clock was put forward by ``seconds``, or back."""
        self._deaths = deque(died + seconds for died in self._deaths)
        for name, began in self._monitor.timeStarted.items():
            self._monitor.timeStarted[name] = began + seconds

    # --- told by a life

    def began(self, life: "_WorkerLife") -> None:
        """Note a process."""
        self._running[life.number] = life
        self._lives.began(life.number, life.pid)

    def heard(self, life: "_WorkerLife", said: bytes) -> None:
        """Note that a worker lives, and pass on that it waits, or takes mail."""
        self._vigil.heard(life.number)
        life.speaks()
        if WAITING in said:
            self._lives.waiting(life.number)
        if READY in said:
            self._lives.ready(life.number)

    def died(self, life: "_WorkerLife", status: int | None, why: str) -> None:
        """Forget a process; unless it should end, that counts."""
        del self._running[life.number]
        self._vigil.forget(life.number)
        self._see_whether_ended()
        if self._stopping:
            return
        now = self._clock.seconds()
        self._deaths.append(now)
        while self._deaths[0] <= now - _HOUR:
            self._deaths.popleft()
        self._lives.died(life.number, life.pid, status, why, len(self._deaths))
        if len(self._deaths) > self._most and not self._stopping:
            # Before the monitor hears of it, who would start it again.
            self._monitor.stopService()
            self._lives.enough()

    def _silent(self, number: int) -> None:
        life = self._running[number]
        self._lives.silent(number, life.pid)
        life.kill()

    def _see_whether_ended(self) -> None:
        if self._ended is not None and not self._running:
            ended, self._ended = self._ended, None
            ended.callback(None)


@define
class _WorkerLife(ProcessProtocol):
    """One life of a worker; the monitor's own protocol hears of its beginning and end."""

    number: int
    _monitors: Any
    _owner: Monitor
    pid: int = field(default=0, init=False)
    transport: Any = field(default=None, init=False)
    _speaking: bool = field(default=False, init=False)
    _hung_up: bool = field(default=False, init=False)

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self.pid = transport.pid
        self._monitors.makeConnection(transport)
        self._owner.began(self)

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803 -- Twisted's
        if childFD == NEWS and data:
            self._owner.heard(self, data)

    def speaks(self) -> None:
        """Note that it has said something: its reactor runs, and its signals are dealt with."""
        self._speaking = True
        if self._hung_up:
            self.hang_up()

    def hang_up(self) -> None:
        """Send SIGHUP, which would end one that has not begun; its log may be older, so it gets it then."""
        self._hung_up = not self._speaking
        if self._speaking:
            self._signal("HUP")

    def kill(self) -> None:
        """End it at once."""
        self._signal("KILL")

    def _signal(self, name: str) -> None:
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 -- Twisted's
        ended: Any = reason.value
        if ended.signal:
            name = signal.Signals(ended.signal).name
            self._owner.died(self, None, f"killed by {name}")
        else:
            self._owner.died(self, ended.exitCode or 0, f"exit status {ended.exitCode or 0}")
        self._monitors.processEnded(reason)


@implementer(IReactorTime)
class _Spawning:
    """The reactor for the monitor: its processes have our file descriptors, and we hear of their lives."""

    def __init__(self, reactor: Any, owner: Monitor, inherited: Mapping[int, int]) -> None:
        self._owner = owner
        self._descriptors = {0: 0, 1: 1, 2: 2, LIFELINE: "w", NEWS: "r", **inherited}
        self._reactor = reactor
        self.seconds = reactor.seconds
        self.callLater = reactor.callLater
        self.getDelayedCalls = reactor.getDelayedCalls

    def spawnProcess(  # noqa: N802 -- Twisted's
        self,
        processProtocol: Any,  # noqa: N803 -- Twisted's
        executable: str,
        args: Sequence[str],
        **options: Any,
    ) -> Any:
        """Start a process."""
        life = _WorkerLife(int(processProtocol.name), processProtocol, self._owner)
        return self._reactor.spawnProcess(life, executable, args, childFDs=self._descriptors, **options)


def _environment() -> dict[str, str]:
    """Return our own environment, in which a worker finds the same package."""
    root = str(Path(*smtprelay.__path__).parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def command(config: str, sets: Sequence[str]) -> list[str]:
    """Return the command of a worker with this configuration."""
    given = [f"--set={setting}" for setting in sets]
    return [sys.executable, "-P", "-m", "smtprelay.entry", f"--config={config}", *given]
