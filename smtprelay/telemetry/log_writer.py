"""
The observer that writes the log, and the levels that it writes by.

:mod:`twisted.logger` carries our own events as well as those of Twisted and
other libraries; its own JSON format nests level and logger in a way that log
collectors cannot use, so the lines are ours.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from threading import RLock
from typing import Any, Final, NamedTuple

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from smtprelay.telemetry.log_format import flattened, json_line, text_line, timestamp

#: Seconds that a line waits for others, to be written with them by one system call.
DELAY: Final = 0.05

#: So much is kept of what cannot be written, bytes.
MOST_KEPT: Final = 1 << 18

#: Which station a logger's events come from, where it is not called like it.
STATIONS: Final = {
    "smtprelay.session": "smtprelay.smtp",
    "smtprelay.auth": "smtprelay.smtp",
    "smtprelay.model.queue": "smtprelay.spool",
    "smtprelay.model.message": "smtprelay.dispatch",
    "smtprelay.attempt": "smtprelay.dispatch",
    "smtprelay.lane": "smtprelay.dispatch",
    "smtprelay.provider": "smtprelay.providers",
    "smtprelay.http": "smtprelay.web",
}


@frozen
class Levels:
    """
    From which level on something is written.

    An event belongs to the logger ``smtprelay.<part before its dot>``, and that one to its
    station: ``smtprelay.smtp: debug`` is about ``smtp.*``, ``session.*`` and ``auth.*``,
    ``smtprelay.session: debug`` about ``session.*`` alone. The longest name that is given wins.

    :ivar level: for whatever ``loggers`` does not name: debug, info, warn, error or critical. At
        ``info`` the others' chatter (ports opened, connections made) is left out: theirs begins at ``warn``.
    :ivar loggers: levels by the beginning of a logger's dotted name; Twisted's loggers too.
    """

    level: str = "info"
    loggers: Mapping[str, str] = field(factory=dict)

    def of(self, namespace: str) -> Any:
        """Return the ``LogLevel`` of the logger called ``namespace``."""
        named = next((self.loggers[name] for name in _beginnings(namespace) if name in self.loggers), None)
        if named is not None:
            return LogLevel.levelWithName(named)
        level = LogLevel.levelWithName(self.level)
        foreign = not namespace.startswith("smtprelay")
        return LogLevel.warn if foreign and level == LogLevel.info else level


def _beginnings(namespace: str) -> Iterator[str]:
    while namespace:
        yield namespace
        if station := STATIONS.get(namespace):
            yield station
        namespace = namespace.rpartition(".")[0]


class LogTrouble(NamedTuple):
    """Why the log cannot be written, in one clause, and since when: seconds since the epoch."""

    reason: str
    since: float


@implementer(ILogObserver)
class LogWriter:
    """
    Writes each event of :mod:`twisted.logger` as one line: ours, and those of Twisted and others.

    Ours were measured against the levels by :class:`Log`. The others are called
    ``twisted`` and carry their logger's name as ``namespace``.

    What cannot be written, on a full disk, is kept and tried again with each line that follows, up to
    :data:`MOST_KEPT`; a line on the standard error says so, once.

    :param stream: an unbuffered file of bytes, and ``file`` where it lies; ``""`` for what is no file.
    :param complain: called with that line.
    :ivar trouble: ``None`` while the log can be written.
    """

    def __init__(
        self,
        stream: Any,
        line: Callable[..., str],
        levels: Levels,
        file: str = "",
        complain: Callable[[bytes], object] = lambda line: os.write(2, line),
    ) -> None:
        self.trouble: LogTrouble | None = None
        self._stream = stream
        self._file = file
        self._line = line
        self._levels = levels
        self._complain = complain
        self._clock: IReactorTime | None = None
        # Others log from their threads, and the garbage collector from anywhere, this module included.
        self._lock = RLock()
        self._writing = False
        self._unwritten = bytearray()
        self._lost = 0
        self._recovered = False
        self._called = False  # a write is due

    def use(self, levels: Levels) -> None:
        """Write by ``levels`` from now on."""
        self._levels = levels

    def reopen(self) -> str:
        """
        Write on in the file that has the name of ours now: ours was renamed, by whoever rotates logs.

        Returns that name, ``""`` for what is no file.

        :raises OSError: it cannot be opened: the lines go where they went.
        """
        self.flush()
        if self._file:
            number = opened(self._file)
            # Beneath the stream, so that a line that another thread writes goes to one of the two.
            os.dup2(number, self._stream.fileno(), inheritable=False)
            os.close(number)
        return self._file

    def delay(self, clock: IReactorTime | None) -> None:
        """
        Write the lines of :data:`DELAY` seconds at once.

        A system call for each line is more than the line costs. A process that is killed without warning
        loses the lines that wait.

        :param clock: the reactor, as long as it runs; ``None``: write each line at once, as in the beginning.
        """
        self._clock = clock
        self.flush()

    def __call__(self, event: LogEvent) -> None:
        """Write ``event``, if it is important enough."""
        name, level, when = event.get("relay_event"), event.get("log_level", LogLevel.info), event["log_time"]
        if name is not None:
            self.write(level.name, name, event["msg"], event["relay_fields"], when)
            return
        namespace = event.get("log_namespace") or ""
        if level >= self._levels.of(namespace):
            self._write_foreign(event, level, namespace, when)

    def write(self, level: str, event: str, msg: str, fields: Mapping[str, Any], when: float) -> None:
        """
        Write one of our events, within :data:`DELAY` seconds.

        What :class:`Log` tells comes this way when nobody else is to hear it: to make an event of
        :mod:`twisted.logger` for it costs as much as the line.

        :param when: seconds since the epoch.
        """
        self._keep(self._line(timestamp(when), level, event, msg, fields))
        if self._clock is None:
            self.flush()
        elif not self._called:
            self._called = True
            self._clock.callLater(DELAY, self.flush)

    def recovered(self) -> int | None:
        """Try what could not be written; when all is, say once how many lines were too many to be kept."""
        self.flush()
        if not self._recovered:
            return None
        lost, self._lost, self._recovered = self._lost, 0, False
        return lost

    def flush(self) -> None:
        """Write what waits."""
        self._called = False
        with self._lock:
            if self._writing:
                return
            self._writing = True
            try:
                while self._unwritten:
                    count = self._stream.write(self._unwritten)
                    if count is None:
                        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                    del self._unwritten[:count]
            except OSError as error:
                self._fail(f"{self._file or 'standard output'}: {error.strerror}")
            else:
                self._recovered = self._recovered or self.trouble is not None
                self.trouble = None
            finally:
                self._writing = False

    def _keep(self, line: str) -> None:
        with self._lock:
            if self.trouble is not None and len(self._unwritten) > MOST_KEPT:
                self._lost += 1
            else:
                self._unwritten += line.encode("utf-8", "backslashreplace")

    def _fail(self, reason: str) -> None:
        if self.trouble is not None:
            return
        self.trouble = LogTrouble(reason, time.time())
        with suppress(OSError):
            self._complain(f"smtprelay: the log cannot be written, the relay goes on: {reason}\n".encode())

    def _write_foreign(self, event: LogEvent, level: Any, namespace: str, when: float) -> None:
        fields = {"namespace": namespace}
        if "log_failure" in event:
            fields["exc"] = flattened(event["log_failure"])
        # At once: it may come from another thread, which may not ask for the end of the turn.
        self._keep(self._line(timestamp(when), level.name, "twisted", formatEvent(event), fields))
        self.flush()


def opened(file: str) -> int:
    """Return a descriptor that appends to a log; a new one is for its owner and group."""
    return os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def make_observer(
    stream: Any,
    format: str = "auto",  # noqa: A002 -- as the setting is called
    levels: Levels | None = None,
    file: str = "",
) -> LogWriter:
    """
    Return the observer that writes the log to ``stream``.

    :param file: where ``stream`` lies, to be opened again; an absolute path.
    :param format: ``"json"``, ``"text"``, or ``"auto"``: text if ``stream`` is a terminal.
    """
    terminal = stream.isatty()

    def text(ts: str, level: str, event: str, msg: str, fields: Mapping[str, Any]) -> str:
        return text_line(ts, level, event, msg, fields.get("exc", ""), colour=terminal)

    as_text = format == "text" or (format == "auto" and terminal)
    return LogWriter(stream, text if as_text else json_line, levels or Levels(), file)
