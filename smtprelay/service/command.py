"""
From a command line to a relay that runs: for ``twistd smtprelay`` and for ``smtprelay run``.

Whatever is wrong is told in plain lines on the standard error, with an exit status that
says which kind of wrong it is; a traceback would be a bug.
"""

import atexit
import gc
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from twisted.application.service import IService, MultiService
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from zope.interface import provider

from smtprelay.config import Config, ConfigError, Loaded, effective, load, render
from smtprelay.log import Log, Telling
from smtprelay.logwriter import Levels, make_observer
from smtprelay.service.failure import CONFIG, StartFailed
from smtprelay.service.relay import Relay
from smtprelay.service.steps import ClockSteps
from smtprelay.version import VERSION
from smtprelay.web.mailbox import Mailbox

#: An error that nobody foresaw.
SOFTWARE: Final = 70

#: New objects between two looks of the garbage collector; Python's own 700 are fewer than a message has.
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
    Return the relay that ``twistd`` shall run.

    :raises SystemExit: 78, after all mistakes of the configuration were told.
    """
    from twisted.internet import reactor  # noqa: PLC0415 -- installed by twistd before

    loaded = load_or_exit(options["config"], options["sets"])
    daemon = Daemon()
    build(loaded, reactor, _exit_after_shutdown(reactor)).setServiceParent(daemon)
    return daemon


class Daemon(MultiService):
    """What ``twistd`` runs: the relay, whose log is the only one."""

    def setServiceParent(self, parent: Any) -> None:
        """Join ``twistd``'s application, and keep its own lines, in another format, from between ours."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, _unwritten)
        super().setServiceParent(parent)


@provider(ILogObserver)
def _unwritten(event: LogEvent) -> None:
    """Write nothing: our own observer has the event, too."""


def run(config: str | None, sets: Sequence[str] = ()) -> int:
    """Run the relay in the foreground until it is told to stop; return the exit status."""
    from twisted.internet import reactor  # noqa: PLC0415

    status: list[int] = []
    relay = build(load_or_exit(config, sets), reactor, status.append)
    reactor.callWhenRunning(_keep_what_is_there)
    run_service(relay, reactor)
    return status[0] if status else 0


def _keep_what_is_there() -> None:
    """
    Spare the garbage collector what stays as long as the process, and let it look less often.

    Next to nothing of a message is in cycles; to look for them was 4 % of what one costs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_LESS_OFTEN, *gc.get_threshold()[1:])


def run_service(service: Any, reactor: Any) -> None:
    """Run ``service`` until the reactor stops."""
    service.privilegedStartService()
    reactor.callWhenRunning(service.startService)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


def load_or_exit(config: str | None, sets: Sequence[str]) -> Loaded:
    """Return the configuration, or tell all its mistakes and exit with 78."""
    try:
        return load(config, os.environ, sets)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"{render(problem)}\n")
        raise SystemExit(CONFIG) from None


def build(
    loaded: Loaded,
    reactor: Any,
    failed: Callable[[int], object],
    *,
    ready: Callable[[Relay], object] = lambda _relay: None,
    mailbox: Mailbox | None = None,
) -> Relay:
    """
    Return a relay that logs as its configuration says, and stops the reactor if it cannot start.

    :param failed: is told the exit status then.
    :param ready: is told when the relay listens.
    :param mailbox: shown on the page.
    """
    writing = start_logging(loaded.config, reactor)
    relay = Relay(loaded.config, reactor, events=[writing], mailbox=mailbox)
    # A log that cannot be written must not keep the mail.
    log = Telling([writing])
    globalLogPublisher.addObserver(cast(ILogObserver, relay.metrics.observe))
    log("relay.start", version=VERSION, config=loaded.file)
    log("config.effective", settings=effective(loaded.config))
    for warning in loaded.warnings:
        log("relay.warning", text=str(warning))

    def tell(failure: Failure) -> None:
        status = SOFTWARE
        # Not sys.stderr, which twistd has replaced by its log.
        stderr = sys.__stderr__ or sys.stderr
        if isinstance(failure.value, StartFailed):
            status = failure.value.status
            stderr.write(f"smtprelay: {failure.getErrorMessage()}\n")
        else:
            stderr.write(f"smtprelay: unexpected error, please report it\n{failure.getTraceback()}")
        failed(status)
        # Some failures come at once, and twistd starts its services before the reactor.
        reactor.callWhenRunning(reactor.stop)

    def started(_: None) -> None:
        clock = ClockSteps(reactor, relay.clock_stepped)
        clock.startService()
        reactor.addSystemEventTrigger("before", "shutdown", clock.stopService)
        ready(relay)

    relay.started.addCallbacks(started, tell)
    return relay


def start_logging(config: Config, reactor: Any) -> Log:
    """
    Write the log as ``config`` says, Twisted's own events too; return where ours go.

    While the ``reactor`` runs, the lines of one turn leave together.
    """
    logging = config.logging
    levels = Levels(logging.level, logging.levels)
    stream = sys.stdout if logging.file is None else open(logging.file, "a", encoding="utf-8")  # noqa: PTH123, SIM115
    # Who closed the standard output has none.
    stream = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    observer = make_observer(stream, logging.format, levels)
    globalLogPublisher.addObserver(observer)
    reactor.callWhenRunning(observer.by_turns, reactor)
    reactor.addSystemEventTrigger("during", "shutdown", observer.by_turns, None)
    return Log(levels, observer)


def _exit_after_shutdown(reactor: Any) -> Callable[[int], object]:
    """Return what makes ``twistd``, which knows no exit status of a service, exit with one."""

    def exit_with(status: int) -> None:
        # At the very end, so that twistd still removes its PID file.
        reactor.addSystemEventTrigger("after", "shutdown", atexit.register, os._exit, status)

    return exit_with
