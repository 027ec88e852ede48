"""
The observer that writes the log, and its levels.

It writes our own events as well as those of Twisted and other libraries. The JSON format of
:mod:`twisted.logger` nests level and logger, which log collectors cannot use, so the lines are ours.
"""

import errno
import os
import select
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from io import FileIO
from threading import RLock
from typing import Any, Final, NamedTuple

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from smtprelay.model.privacy import NO_MASK, PrivacyMask
from smtprelay.telemetry.log_format import flattened, json_line, text_line, timestamp

#: The most bytes that are kept while the log cannot be written.
MOST_KEPT: Final = 1 << 18

#: The station of each logger that is not called like its station.
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
    The lowest level that is written, for each logger.

    An event belongs to the logger ``smtprelay.<part before its dot>``, which belongs to its station:
    ``smtprelay.smtp: debug`` covers ``smtp.*``, ``session.*`` and ``auth.*``, ``smtprelay.session: debug``
    only
    ``session.*``. The longest name wins.

    :ivar level: for all loggers that ``loggers`` does not name: debug, info, warn, error or critical. At
        ``info``, events of Twisted and other libraries are written from ``warn`` on.
    :ivar loggers: levels by the beginning of a logger's dotted name, also of Twisted's.
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
    Writes each event of :mod:`twisted.logger` as one line.

    Our events have been filtered by :class:`Log`. Those of Twisted and others are called ``twisted`` and have
    their logger's name as ``namespace``.

    Lines that cannot be written, for example on a full disk, are kept up to :data:`MOST_KEPT` and tried again
    with each further line; one line on stderr says so.

    :param stream: an unbuffered binary file, and ``file`` its path; ``""`` if it is no file.
    :param complain: called with the line for stderr.
    :ivar trouble: ``None`` while the log can be written.
    """

    def __init__(
        self,
        stream: Any,
        line: Callable[..., str],
        levels: Levels,
        file: str = "",
        complain: Callable[[bytes], object] = lambda line: stream_of(2).write(line),
    ) -> None:
        self.trouble: LogTrouble | None = None
        self._stream = stream
        self._file = file
        self._line = line
        self._levels = levels
        self._mask: PrivacyMask = NO_MASK
        self._complain = complain
        self._clock: IReactorTime | None = None
        # Other threads log, too, and the garbage collector logs from anywhere, also from this module.
        self._lock = RLock()
        self._writing = False
        self._unwritten = bytearray()
        self._lost = 0
        self._recovered = False
        self._called = False  # flush is scheduled

    def use(self, levels: Levels, mask: PrivacyMask) -> None:
        """Write by ``levels`` from now on, and what Twisted and others say by ``mask``."""
        self._levels = levels
        self._mask = mask

    def reopen(self) -> str:
        """
        Continue in the file that has the log's name now, after a log rotation has renamed the old one.

        Returns that name, ``""`` if the log is no file.

        :raises OSError: it cannot be opened; the old file stays in use.
        """
        self.flush()
        if self._file:
            number = opened(self._file)
            # Below the stream, so that a line of another thread goes to one of the two files.
            os.dup2(number, self._stream.fileno(), inheritable=False)
            os.close(number)
        return self._file

    def by_iterations(self, clock: IReactorTime | None) -> None:
        """
        Write the lines of one iteration of the reactor together, at the end of the turn.

        A system call for each line costs more than the line. A killed process loses the lines of its
        iteration.

        :param clock: the reactor while it runs; ``None``: write each line at once, which is the default.
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

    def write(
        self,
        level: str,
        event: str,
        msg: str,
        fields: Mapping[str, Any],
        when: float,
        *,
        at_once: bool = False,
    ) -> None:
        """
        Write one of our events, by the end of this iteration.

        :class:`Log` calls this directly: an event of :mod:`twisted.logger` would cost as much as the line.

        :param when: seconds since the epoch.
        """
        line = self._line(timestamp(when), level, event, msg, fields)
        with self._lock:
            if self.trouble is not None and len(self._unwritten) > MOST_KEPT:
                self._lost += 1
            else:
                self._unwritten += line.encode("utf-8", "backslashreplace")
        if at_once or self._clock is None:
            self.flush()
        elif not self._called:
            self._called = True
            self._clock.callLater(0, self.flush)

    def recovered(self) -> int | None:
        """Write what was kept; once, when all of it is written, return how many lines are lost."""
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

    def _fail(self, reason: str) -> None:
        if self.trouble is not None:
            return
        self.trouble = LogTrouble(reason, time.time())
        with suppress(OSError):
            self._complain(f"smtprelay: the log cannot be written, the relay continues: {reason}\n".encode())

    def _write_foreign(self, event: LogEvent, level: Any, namespace: str, when: float) -> None:
        fields = {"namespace": namespace}
        if "log_failure" in event:
            fields["exc"] = self._mask.text(flattened(event["log_failure"]))
        # At once: another thread may not call the reactor.
        self.write(level.name, "twisted", self._mask.text(formatEvent(event)), fields, when, at_once=True)


class LogStream:
    """
    A pipe or socket as the stream of a log: where nobody reads, a write would block the whole relay.

    Others may write to the same pipe, so it stays as it is, and is asked before each write.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def isatty(self) -> bool:
        """Return ``False``."""
        return False

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def write(self, octets: bytes | bytearray) -> int | None:
        """Write whole lines of ``octets`` if they are short; return how many octets, ``None``: it is full."""
        asking = select.poll()
        asking.register(self._descriptor, select.POLLOUT)
        if not asking.poll(0):
            return None
        end = octets.rfind(b"\n", 0, select.PIPE_BUF) + 1 or select.PIPE_BUF
        return os.write(self._descriptor, octets[:end])


def stream_of(descriptor: int) -> "FileIO | LogStream":
    """Return what writes the log to ``descriptor``, and never waits for who reads it."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        return LogStream(descriptor)
    return FileIO(descriptor, "w", closefd=False)


def opened(file: str) -> int:
    """Open a log for appending and return its descriptor; a new file is for its owner and group."""
    return os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def make_observer(
    stream: Any,
    format: str = "auto",  # noqa: A002 -- as the setting is called
    levels: Levels | None = None,
    file: str = "",
) -> LogWriter:
    """
    Return the observer that writes the log to ``stream``.

    :param file: the absolute path of ``stream``, to be opened again.
    :param format: ``"json"``, ``"text"``, or ``"auto"``: text if ``stream`` is a terminal.
    """
    terminal = stream.isatty()

    def text(ts: str, level: str, event: str, msg: str, fields: Mapping[str, Any]) -> str:
        return text_line(ts, level, event, msg, fields.get("exc", ""), colour=terminal)

    as_text = format == "text" or (format == "auto" and terminal)
    return LogWriter(stream, text if as_text else json_line, levels or Levels(), file)
