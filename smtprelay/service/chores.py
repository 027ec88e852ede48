"""What a relay does again and again."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from smtprelay.interfaces import Events
from smtprelay.telemetry.log import Log
from smtprelay.telemetry.log_writer import LogTrouble

#: What is told if it fails, how often it is done, seconds, and what it is.
Chore = tuple[str, float, Callable[[], Awaitable[Any]]]


def every(
    clock: Any,
    events: Events,
    operation: str,
    seconds: float,
    chore: Callable[[], Awaitable[Any]],
) -> LoopingCall:
    """
    Do ``chore`` every so many seconds, each time after the last has ended; stop the call to end that.

    :param operation: what is told if it fails.
    """

    async def do() -> None:
        try:
            await chore()
        except Exception as error:  # noqa: BLE001 -- whatever the spool raises, the next time comes
            events("spool.failed", operation=operation, reason=str(error) or type(error).__name__)

    call = LoopingCall(lambda: Deferred.fromCoroutine(do()))
    call.clock = clock
    call.start(seconds, now=False)
    return call


class LogWatch:
    """
    Sees whether the log can be written.

    :param hearers: of a relay's events, the log among them.
    """

    def __init__(self, hearers: Iterable[Events], events: Events) -> None:
        self._log = next((each for each in hearers if isinstance(each, Log)), Log())
        self._events = events

    def trouble(self) -> LogTrouble | None:
        """Return why the log cannot be written, if so."""
        return self._log.trouble

    async def look(self) -> None:
        """Tell once that it can be written again."""
        lost = self._log.recovered()
        if lost is not None:
            self._events("log.writable", lines=lost)
