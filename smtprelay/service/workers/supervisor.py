"""
The supervisor of the workers: it opens what they listen on, starts them, and answers for all of them.

No mail passes through it: workers accept from the sockets that it opened, and each uses the spool by itself.
It serves the HTTP sites and the control socket: it is ready while one worker is, adds up the metrics of all,
and passes requests to the API on. A worker that dies is restarted, one that hangs is killed first; too many
deaths within an hour stop the relay. While workers wait for their database and none is ready, clients get
421.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from smtprelay.config import Config, Loaded, load
from smtprelay.config.changes import applicable, changes
from smtprelay.interfaces import Events
from smtprelay.model.expiry import Expiries
from smtprelay.net.worker_memory import WorkerMemory, new_file, new_memory
from smtprelay.service.build.http import HttpSites
from smtprelay.service.drain import why_draining
from smtprelay.service.errors import StartFailed, explain, tell_failed
from smtprelay.service.periodic import LogWatch, every
from smtprelay.service.ports import Ports
from smtprelay.service.relay import CLOSING_BOUND, OUTCOMES_BOUND
from smtprelay.service.reload import FileReloading, as_failed, reloaded, unexpected_failure
from smtprelay.service.remote_secrets import RemoteSecrets
from smtprelay.service.threads import Threads
from smtprelay.service.workers.api_proxy import SHORT_PATIENCE, ApiProxy, RemoteRefusals, control_of
from smtprelay.service.workers.monitor import Monitor, Worker, command
from smtprelay.service.workers.shared_text import SharedText
from smtprelay.service.workers.sockets import FIRST_SOCKET, MEMORY, TEXT, Sockets, addresses_line
from smtprelay.smtp.refusals import Refusals
from smtprelay.telemetry.aggregate import Gathered
from smtprelay.telemetry.log import Fanout, Log
from smtprelay.telemetry.log_writer import LogTrouble
from smtprelay.telemetry.metrics import Metrics, watch_lag
from smtprelay.web.context import Operations, Reloaded, ReloadFailed, Sources

#: Seconds that a worker has to stop before it is killed.
PATIENCE: Final = OUTCOMES_BOUND + CLOSING_BOUND + 10.0

#: Seconds between two checks of the log, and two requests for the metrics of the workers.
TASKS_EVERY: Final = 2.0

#: Seconds that a worker has to record what was refused before it is stopped.
_RECORD_TIMEOUT: Final = 2.0

#: The exit status when too many workers have died.
_TOO_MANY: Final = 1


class Supervisor(Service):
    """
    A relay whose work is done by child processes. Implements :class:`.web.context.RelayStatus`.

    :param sets: the values of ``--set``, for the workers, who read the configuration themselves.
    :ivar ended: fires with an exit status when it has stopped by itself after it was ready.
    :ivar started: fires when a worker is ready; fails with :class:`StartFailed`, nothing left open, and with
        ``CancelledError`` if it was stopped before.
    :ivar addresses: as of :class:`smtprelay.service.Relay`.
    """

    def __init__(
        self,
        loaded: Loaded,
        sets: Sequence[str],
        reactor: Any,
        *,
        events: Sequence[Events] = (),
    ) -> None:
        self.config = loaded.config
        self.metrics = Metrics(seconds=reactor.seconds)
        self.since = 0.0
        self.started: Deferred[None] = Deferred()
        self.ended: Deferred[int] = Deferred()
        self._file = str(Path(loaded.file).absolute())
        self._sets = sets
        self._reactor = reactor
        self._events = Fanout([self.metrics, *(events or [Log()])], self.config.privacy.mask)
        self._log = LogWatch(events, self._events)
        self._gathered = Gathered(self.metrics.registry)
        self._registry = CollectorRegistry()
        self._registry.register(self._gathered)
        self._threads = Threads(reactor)
        self._ports = Ports(reactor)
        self._secrets = RemoteSecrets(reactor, self._events, self._threads)
        self._descriptor = new_memory(self.config.workers)
        self._memory = WorkerMemory(self._descriptor)
        self._text = SharedText(new_file())
        self._text.write(loaded.text)
        #: What was read last; workers read nothing else.
        self._read = loaded.text
        self._refusals = Refusals(reactor, self._events)
        self._sockets = Sockets(self.config.hostname, self._refusals)
        numbers = range(1, self.config.workers + 1)
        self._workers = [Worker(number, control_of(self.config, number)) for number in numbers]
        shared = self.config.spool is not None or self.config.workers == 1
        self._proxy = ApiProxy(reactor, self._workers, shared)
        self._sites = HttpSites(self._ports, self._threads.login)
        self._reloading = FileReloading(self._load, self._threads, self._events, reactor)
        self._monitor: Monitor | None = None
        self._clocks: list[LoopingCall] = []
        self._stopping: Deferred[None] | None = None

    @property
    def addresses(self) -> Mapping[str, Any]:
        """What it listens on, by name."""
        return {**self._sockets.addresses, **self._ports.addresses}

    def startService(self) -> None:
        """Begin to start; :attr:`started` fires when that ends."""
        super().startService()
        self.since = self._reactor.seconds()
        self._threads.start()
        Deferred.fromCoroutine(self._start()).addErrback(self._start_failed)

    def stopService(self) -> Deferred[None]:
        """Stop the workers in order, then the rest; fires when nothing is left."""
        super().stopService()
        return self._stop("requested")

    def hang_up(self) -> None:
        """Pass SIGHUP on to the workers, who open their logs again; then reload the configuration."""
        if self._monitor is not None:
            self._monitor.hang_up()
        Deferred.fromCoroutine(self._reloading.hang_up()).addErrback(unexpected_failure, self._events)

    def kill(self) -> None:
        """End all workers at once."""
        if self._monitor is not None:
            self._monitor.kill()

    # --- starting

    async def _start(self) -> None:
        _make_folder(self.config)
        await self._secrets.read(self.config)
        for listener in self.config.listeners:
            await self._sockets.open(self._reactor, listener)
        await self._show(self.config)
        tasks = (("log", self._log.check), ("metrics", lambda: self._proxy.gather(self._gathered)))
        self._clocks = [
            watch_lag(self._reactor, self.metrics),
            *(every(self._reactor, self._events, name, TASKS_EVERY, task) for name, task in tasks),
        ]
        assert self.config.supervise is not None
        numbers = self._sockets.numbers
        names = dict(enumerate(numbers, FIRST_SOCKET))
        self._monitor = Monitor(
            reactor=self._reactor,
            workers=self._workers,
            command=command(self._file, self._sets, names),
            inherited={
                MEMORY: self._descriptor,
                TEXT: self._text.descriptor,
                **{number: numbers[name] for number, name in names.items()},
            },
            restarts_per_hour=self.config.supervise.restarts_per_hour,
            patience=PATIENCE,
            owner=self,
        )
        self._monitor.start()

    async def _show(self, config: Config) -> None:
        sources = Sources(
            relay=self,
            clock=self._reactor,
            events=self._events,
            spool=None,
            refusals=self._refusals,
            operations=Operations(reloading=self._reloading),
        )
        await self._sites.show(config, sources, self._proxy.parts(config))

    def _load(self) -> Config:
        loaded = load(self._file, os.environ, self._sets)
        self._read = loaded.text
        return loaded.config

    def _start_failed(self, failure: Any) -> Deferred[None]:
        return self._cannot_start(failure.value)

    def _cannot_start(self, error: Exception) -> Deferred[None]:
        failure = explain(error)
        stopped = self._stop(tell_failed(self._events, failure))
        self.running = False
        return stopped.addCallback(lambda _: self.started.errback(failure))

    # --- what happens to the workers

    def worker_waits(self, worker: Worker) -> None:
        """Turn clients away if no other one is ready."""
        self._update_acceptance()
        self._events("worker.waiting", worker=worker.number)

    def worker_ready(self, worker: Worker) -> None:
        """Use it; with the first one the relay is ready."""
        self._update_acceptance()
        self._events("worker.ready", worker=worker.number, pid=worker.pid)
        self._watch(self._refusals.flush())
        self._watch(self._proxy.repeat(worker))
        if not self.started.called and self._stopping is None:
            self._events("relay.ready", listeners=addresses_line(self.addresses))
            self.metrics.ready(True)
            self._reloading.target = self
            self.started.callback(None)

    def worker_unresponsive(self, worker: Worker) -> None:
        """Report a worker that does not respond: it is killed next."""
        self._events("worker.unresponsive", worker=worker.number, pid=worker.pid)

    def _update_acceptance(self) -> None:
        """Turn clients away while workers wait for a database, which may take long; a new worker does not."""
        ready = any(worker.ready for worker in self._workers)
        self._sockets.turn_away(any(worker.waiting for worker in self._workers) and not ready)
        self._refusals.store = RemoteRefusals(self._proxy) if ready else None

    def worker_died(self, worker: Worker) -> None:
        """Forget what it counted; stop if it could not start."""
        self._update_acceptance()
        self._memory.forget(worker.number)
        self._gathered.worker_ended(worker.number)
        assert self._monitor is not None
        deaths = self._monitor.deaths
        self._events("worker.died", worker=worker.number, pid=worker.pid, reason=worker.reason, deaths=deaths)
        if worker.status and not self.started.called and self._stopping is None:
            # The worker has logged what is wrong, and another one would fail, too.
            why = f"worker {worker.number} cannot start ({worker.reason})"
            self._cannot_start(StartFailed(why, worker.status))

    def too_many_died(self) -> None:
        """Stop the relay."""
        assert self.config.supervise is not None
        why = f"more than {self.config.supervise.restarts_per_hour} workers died within an hour"
        if self.started.called:
            self._stop(why).addCallback(lambda _: self.ended.callback(_TOO_MANY))
        else:
            self._cannot_start(StartFailed(why, _TOO_MANY))

    # --- while it runs

    def clock_stepped(self, seconds: float) -> None:
        """Correct all times after the system clock was set forward by ``seconds``, or back."""
        if self._monitor is not None:
            self._monitor.clock_stepped(seconds)

    async def use(self, config: Config) -> Reloaded:
        """
        Have all workers put ``config`` into force, which was just read, and do so here.

        :raises ReloadFailed: nothing has changed.
        """
        before = self.config
        if _sockets(config) != _sockets(before):
            raise ReloadFailed("listeners: where workers listen can only be changed by a restart")
        try:
            await self._secrets.read(config)
            config, restart = applicable(before, config)
            await self._change(before, config)
        except Exception as error:
            raise as_failed(error) from error
        self.config = config
        self._log.use(config)
        await self._secrets.keep_only(config)
        return reloaded(changes(before, config), restart)

    async def _change(self, before: Config, config: Config) -> None:
        text = self._text.read()
        try:
            await self._show(config)
            self._text.write(self._read)
            await self._proxy.reload()
        except Exception:
            self._text.write(text)
            await self._show(before)
            # Some may have it in force.
            self._watch(self._proxy.reload())
            raise

    def listeners(self) -> Sequence[Mapping[str, Any]]:
        return self._sockets.described()

    def log_trouble(self) -> LogTrouble | None:
        return self._log.trouble()

    def expiries(self) -> Expiries:
        """Return nothing: the workers know, who also answer for the status."""
        return {}

    def failing_keys(self) -> Sequence[str]:
        """Return nothing: the workers know."""
        return ()

    async def readiness(self) -> Mapping[str, str | None]:
        """Return the checks of ``/readyz``: it is ready while one worker is."""
        checks: dict[str, str | None] = dict.fromkeys(("recovery", "workers", "draining"))
        checks["draining"] = why_draining(self._stopping is not None, self._proxy.draining)
        if not self.started.called:
            checks["recovery"] = "no worker has been ready yet"
        answers = await self._proxy.all("GET", "/readyz", patience=SHORT_PATIENCE)
        if not any(answer.status == 200 for answer in answers.values()):  # noqa: PLR2004 -- OK
            reasons = [f"worker {n}: {_line(answer.body)}" for n, answer in sorted(answers.items())]
            waiting = (each for each in self._workers if each.waiting)
            reasons += [f"worker {each.number}: it waits for the spool's database" for each in waiting]
            checks["workers"] = "; ".join(reasons) or "no worker answers"
        return checks

    async def registry(self) -> CollectorRegistry:
        await self._proxy.gather(self._gathered)
        return self._registry

    def _watch(self, task: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(task).addErrback(
            lambda failure: self._events("relay.warning", text=f"workers: {failure.getErrorMessage()}")
        )

    # --- stopping

    def _stop(self, reason: str) -> Deferred[None]:
        """Stop, once; the Deferred of each caller fires when all is closed."""
        waiting: Deferred[None] = Deferred()
        if self._stopping is None:
            self._stopping = Deferred.fromCoroutine(self._close(reason))
        self._stopping.addCallback(lambda _: waiting.callback(None))
        return waiting

    def _not_written(self, failure: Failure) -> None:
        reason = "no worker has answered in time" if failure.check(TookTooLong) else failure.getErrorMessage()
        self._events("spool.failed", operation="refused", reason=reason)

    async def _close(self, reason: str) -> None:
        self.metrics.ready(False)
        self._events("relay.stop", reason=reason)
        if self._monitor is not None:
            # While there are workers to record it.
            writing = Deferred.fromCoroutine(self._refusals.flush())
            await writing.addTimeout(_RECORD_TIMEOUT, self._reactor).addErrback(self._not_written)
            await self._monitor.stop()
        for call in self._clocks:
            call.stop()
        await self._secrets.stop()
        await self._sockets.close()
        await self._ports.close()
        os.close(self._descriptor)
        os.close(self._text.descriptor)
        self._threads.stop()
        if not self.started.called and reason == "requested":
            self.started.errback(CancelledError())


def _sockets(config: Config) -> dict[str, str]:
    return {listener.name: listener.endpoint for listener in config.listeners}


def _make_folder(config: Config) -> None:
    """Make the spool's folder, in which the control socket usually lies."""
    if config.spool is not None and config.spool.engine == "sqlite":
        Path(config.spool.path).mkdir(mode=0o700, parents=True, exist_ok=True)


def _line(body: bytes) -> str:
    """Return the reasons of a worker that is not ready, in one line."""
    lines = (line.removeprefix("[-]") for line in body.decode("utf-8", "replace").splitlines())
    return ", ".join(line for line in lines if line and line != "not ready")
