"""
Runs a relay from the command line: for ``twistd smtprelay`` and for ``smtprelay run``.

An error is one line on the standard error and an exit status that says of which kind it is; a traceback is a
bug.
"""

import atexit
import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from twisted.application.service import IService, MultiService
from twisted.internet.defer import CancelledError
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from zope.interface import provider

from smtprelay.config import Config, ConfigError, Loaded, effective, load, render
from smtprelay.service.clock_steps import ClockSteps
from smtprelay.service.errors import CONFIG, StartFailed, exit_with_status
from smtprelay.service.relay import Relay
from smtprelay.service.signals import at_hangup, end_at_second
from smtprelay.service.systemd import SystemdNotifier
from smtprelay.service.workers.supervisor import Supervisor
from smtprelay.telemetry.crash_report import SOFTWARE, unexpected
from smtprelay.telemetry.log import Fanout, Log
from smtprelay.telemetry.log_writer import Levels, make_observer, opened, stream_of
from smtprelay.version import VERSION

#: New objects between two runs of the garbage collector; a message has more than Python's default of 700.
_LESS_OFTEN: Final = 20_000


class Options(usage.Options):
    """The options of ``twistd smtprelay``."""

    synopsis = "[options]"
    longdesc = "Takes mail over SMTP, keeps it safe, and delivers it through the provider's HTTP API."
    optParameters = [  # noqa: RUF012 -- Twisted's own way
        ["config", "c", None, "The configuration; else SMTPRELAY_CONFIG, ./smtprelay.yaml, or that in /etc."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["sets"] = []

    def opt_set(self, setting: str) -> None:
        """Set one value over the configuration, as a.b=c."""
        self["sets"].append(setting)


def makeService(options: Options) -> IService:
    """
    Return the relay that ``twistd`` runs.

    :raises SystemExit: 78, after all errors in the configuration were written; another status for anything
        else, after one line about it.
    """
    from twisted.internet import reactor  # noqa: PLC0415 -- installed by twistd before

    daemon = Daemon()
    with exit_with_status():
        loaded = load_or_exit(options["config"], options["sets"])
        twistd: Mapping[str, Any] = options.parent or {}
        if not loaded.config.logging.file and not twistd.get("nodaemon", True):
            text = "in the background there is no standard output: set logging.file, or start twistd with -n"
            raise StartFailed(text, CONFIG)
        make(loaded, options["sets"], reactor, _exit_after_shutdown(reactor)).setServiceParent(daemon)
    return daemon


class Daemon(MultiService):
    """What ``twistd`` runs: the relay, whose log is the only one."""

    def setServiceParent(self, parent: Any) -> None:
        """Join ``twistd``'s application, and keep its own lines out of the log: they have another format."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, _unwritten)
        super().setServiceParent(parent)


@provider(ILogObserver)
def _unwritten(event: LogEvent) -> None:
    """Write nothing: our own observer writes the event."""


def run(config: str | None, sets: Sequence[str] = ()) -> int:
    """Run the relay in the foreground until it is stopped; return the exit status."""
    from twisted.internet import reactor  # noqa: PLC0415

    status: list[int] = []
    with exit_with_status():
        relay = make(load_or_exit(config, sets), sets, reactor, status.append)
    run_service(relay, reactor)
    return status[0] if status else 0


def make(
    loaded: Loaded, sets: Sequence[str], reactor: Any, failed: Callable[[int], object]
) -> Relay | Supervisor:
    """
    Return the relay, or, where the configuration wants that, what supervises its workers.

    A second signal ends it at once.

    :param failed: called with the exit status if it cannot start, or stops by itself.
    """
    # Before the log is opened: a SIGHUP from now on is obeyed when the reactor runs.
    hang_up = at_hangup(reactor)
    supervised = loaded.config.supervise is not None
    log = begin_log(loaded, None if supervised else reactor)
    hang_up.append(partial(reopen_log, log))
    systemd = SystemdNotifier(reactor, os.environ)
    reactor.callWhenRunning(systemd.start)

    def read_again() -> Config:
        return load(loaded.file, os.environ, sets).config

    service: Relay | Supervisor
    if supervised:
        service = Supervisor(loaded, sets, reactor, events=[log, systemd])
        service.ended.addCallback(failed).addCallback(lambda _: stop(reactor))
        hang_up.append(service.hang_up)
        end_at_second(reactor, service.kill)
    else:
        service = Relay(loaded.config, reactor, events=[log, systemd], load=read_again)
        hang_up.append(service.hang_up)
        end_at_second(reactor)
    watch(service, reactor, failed)
    return service


def _tune_garbage_collection() -> None:
    """
    Exclude from garbage collection what lives as long as the process, and let it run less often.

    A message has almost no reference cycles; the search for them was 4 % of its cost.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_LESS_OFTEN, *gc.get_threshold()[1:])


def run_service(service: Any, reactor: Any) -> None:
    """Run ``service`` until the reactor stops."""
    service.privilegedStartService()
    reactor.callWhenRunning(service.startService)
    reactor.callWhenRunning(_tune_garbage_collection)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


def load_or_exit(config: str | None, sets: Sequence[str], text: bytes | None = None) -> Loaded:
    """Return the configuration, or write all its errors and exit with 78."""
    try:
        return load(config, os.environ, sets, text=text)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"{render(problem)}\n")
        raise SystemExit(CONFIG) from None


def watch(service: Relay | Supervisor, reactor: Any, failed: Callable[[int], object]) -> None:
    """
    Count what is logged, correct timers when the clock is set, and stop the reactor if the start fails.

    :param failed: called with the exit status then.
    """
    globalLogPublisher.addObserver(cast(ILogObserver, service.metrics.observe))
    clock = ClockSteps(reactor, service.clock_stepped)
    # Not now: twistd may fork first, which leaves threads behind.
    reactor.callWhenRunning(clock.startService)
    reactor.addSystemEventTrigger("before", "shutdown", clock.stopService)
    service.started.addErrback(tell_failure(reactor, failed))


def begin_log(loaded: Loaded, reactor: Any | None = None) -> Log:
    """Begin the log, with the configuration as its first lines; return it."""
    writing = start_logging(loaded.config, reactor)
    # A log that cannot be written must not stop the mail.
    log = Fanout([writing], loaded.config.privacy.mask)
    log("relay.start", version=VERSION, config=loaded.file)
    log("config.effective", settings=effective(loaded.config))
    for warning in loaded.warnings:
        log("relay.warning", text=str(warning))
    return writing


def reopen_log(log: Log) -> None:
    """Reopen the log file by its name, and log that."""
    try:
        file = log.writer.reopen() if log.writer else ""
    except OSError as error:
        text = f"SIGHUP: the log continues in the old file, the new one cannot be opened: {error}"
        log("relay.warning", text=text)
    else:
        log("log.reopened", file=file or "the standard output")


def tell_failure(reactor: Any, failed: Callable[[int], object]) -> Callable[[Failure], None]:
    """Return an errback: it writes why a relay did not start, passes on the status, stops the reactor."""

    def tell(failure: Failure) -> None:
        if failure.check(CancelledError):
            return  # it was stopped before it was ready
        # Not sys.stderr, which twistd replaces by its log.
        stderr = sys.__stderr__ or sys.stderr
        if isinstance(failure.value, StartFailed):
            status = failure.value.status
            stderr.write(f"smtprelay: {failure.getErrorMessage()}\n")
        else:
            status = SOFTWARE
            stderr.write(f"smtprelay: {unexpected(failure.value, logged=True)}\n")
        failed(status)
        stop(reactor)

    return tell


def stop(reactor: Any) -> None:
    """Stop the reactor, unless it is stopping already."""

    def stop_once() -> None:
        with suppress(ReactorNotRunning):
            reactor.stop()

    # Some starts fail at once, and twistd starts its services before the reactor.
    reactor.callWhenRunning(stop_once)


def start_logging(config: Config, reactor: Any | None = None, **more: object) -> Log:
    """
    Begin the log as ``config`` says, Twisted's own events included; return it, with ``more`` in each event.

    :param reactor: while it runs, the lines of one iteration are written together. ``None``: each line is
        written alone, so that several processes can write to one log without mixing their lines.
    """
    logging = config.logging
    levels = Levels(logging.level, logging.levels)
    file = "" if logging.file is None else str(Path(logging.file).absolute())
    # The standard output may have been closed.
    number = opened(file or os.devnull) if file or sys.stdout is None else sys.stdout.fileno()
    observer = make_observer(stream_of(number), logging.format, levels, file)
    globalLogPublisher.addObserver(observer)
    if reactor is not None:
        reactor.callWhenRunning(observer.by_iterations, reactor)
        reactor.addSystemEventTrigger("during", "shutdown", observer.by_iterations, None)
    log = Log(levels, observer, **more)
    log.use(levels, config.privacy.mask)
    return log


def _exit_after_shutdown(reactor: Any) -> Callable[[int], object]:
    """Return a function that makes ``twistd`` exit with a status, which a service cannot set."""

    def exit_with(status: int) -> None:
        # At the very end, after twistd has removed its PID file.
        reactor.addSystemEventTrigger("after", "shutdown", atexit.register, os._exit, status)

    return exit_with
