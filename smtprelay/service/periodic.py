"""What a relay does periodically."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from smtprelay.config.model import Config
from smtprelay.interfaces import Events
from smtprelay.telemetry.log import Fanout, Log
from smtprelay.telemetry.log_writer import Levels, LogTrouble

#: The name in the log if it fails, the seconds between two runs, and what is run.
PeriodicTask = tuple[str, float, Callable[[], Awaitable[Any]]]


def every(
    clock: Any,
    events: Events,
    operation: str,
    seconds: float,
    task: Callable[[], Awaitable[Any]],
    *,
    of_spool: bool = False,
) -> LoopingCall:
    """
    Run ``task`` every ``seconds``, never twice at once; stop the call to end that.

    :param operation: its name in the log if it fails.
    :param of_spool: it is an operation of the spool.
    """

    async def do() -> None:
        try:
            await task()
        except Exception as error:  # noqa: BLE001 -- whatever it raises, the next run may succeed
            reason = str(error) or type(error).__name__
            if of_spool:
                events("spool.failed", operation=operation, reason=reason)
            else:
                events("task.failed", task=operation, reason=reason)

    call = LoopingCall(lambda: Deferred.fromCoroutine(do()))
    call.clock = clock
    call.start(seconds, now=False)
    return call


class LogWatch:
    """
    Checks whether the log can be written.

    :param observers: those of a relay's events, the log among them.
    """

    def __init__(self, observers: Iterable[Events], events: Fanout) -> None:
        self._log = next((each for each in observers if isinstance(each, Log)), Log())
        self._events = events

    def use(self, config: Config) -> None:
        """Write by the levels of ``config`` from now on, and hide what it says."""
        self._events.mask = config.privacy.mask
        self._log.use(Levels(config.logging.level, config.logging.levels), config.privacy.mask)

    def trouble(self) -> LogTrouble | None:
        """Return why the log cannot be written, if so."""
        return self._log.writer.trouble if self._log.writer else None

    async def check(self) -> None:
        """Log once that it can be written again."""
        lost = self._log.writer.recovered() if self._log.writer else None
        if lost is not None:
            self._events("log.writable", lines=lost)
