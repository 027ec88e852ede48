"""
The observer that writes the log, and the levels that it writes by.

:mod:`twisted.logger` carries our own events as well as those of Twisted and
other libraries; its own JSON format nests level and logger in a way that log
collectors cannot use, so the lines are ours.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, TextIO

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from smtprelay.lines import flattened, json_line, text_line, timestamp

#: Which station a logger's events come from, where it is not called like it.
STATIONS: Final = {
    "smtprelay.session": "smtprelay.smtp",
    "smtprelay.auth": "smtprelay.smtp",
    "smtprelay.queue": "smtprelay.spool",
    "smtprelay.message": "smtprelay.dispatch",
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


@implementer(ILogObserver)
class Writer:
    """
    Writes each event of :mod:`twisted.logger` as one line: ours, and those of Twisted and others.

    Ours were measured against the levels by :class:`Log`. The others are called
    ``twisted`` and carry their logger's name as ``namespace``.
    """

    def __init__(self, stream: TextIO, line: Callable[..., str], levels: Levels, file: str = "") -> None:
        self._stream = stream
        self._file = file
        self._line = line
        self._levels = levels
        self._clock: IReactorTime | None = None
        self._kept = False  # lines that wait for the end of the turn

    def use(self, levels: Levels) -> None:
        """Write by ``levels`` from now on."""
        self._levels = levels

    def reopen(self) -> str:
        """
        Write on in the file that has the name of ours now: ours was renamed, by whoever rotates logs.

        Returns that name, ``""`` for what is no file.

        :raises OSError: it cannot be opened: the lines go where they went.
        """
        self._flush()
        if self._file:
            number = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            # Beneath the stream, so that a line that another thread writes goes to one of the two.
            os.dup2(number, self._stream.fileno(), inheritable=False)
            os.close(number)
        return self._file

    def by_turns(self, clock: IReactorTime | None) -> None:
        """
        Write what is told within one turn of the reactor at once, at the turn's end.

        A system call for each line is more than the line costs. Who is killed without warning
        takes the lines of that turn along.

        :param clock: the reactor, as long as it runs; ``None``: write each line at once, as in the beginning.
        """
        self._clock = clock
        self._flush()

    def __call__(self, event: LogEvent) -> None:
        """Write ``event``, if it is important enough."""
        name, level, time = event.get("relay_event"), event.get("log_level", LogLevel.info), event["log_time"]
        if name is not None:
            self.write(level.name, name, event["msg"], event["relay_fields"], time)
            return
        namespace = event.get("log_namespace") or ""
        if level >= self._levels.of(namespace):
            self._write_foreign(event, level, namespace, time)

    def write(self, level: str, event: str, msg: str, fields: Mapping[str, Any], time: float) -> None:
        """
        Write one of our events, by the end of this turn.

        What :class:`Log` tells comes this way when nobody else is to hear it: to make an event of
        :mod:`twisted.logger` for it costs as much as the line.

        :param time: seconds since the epoch.
        """
        self._stream.write(self._line(timestamp(time), level, event, msg, fields))
        if self._clock is None:
            self._stream.flush()
        elif not self._kept:
            self._kept = True
            self._clock.callLater(0, self._flush)

    def _flush(self) -> None:
        self._kept = False
        # There is nobody left who could be told that the log cannot be written.
        with suppress(OSError):
            self._stream.flush()

    def _write_foreign(self, event: LogEvent, level: Any, namespace: str, time: float) -> None:
        fields = {"namespace": namespace}
        if "log_failure" in event:
            fields["exc"] = flattened(event["log_failure"])
        # At once: it may come from another thread, which may not ask for the end of the turn.
        self._stream.write(self._line(timestamp(time), level.name, "twisted", formatEvent(event), fields))
        self._stream.flush()


def make_observer(
    stream: TextIO,
    format: str = "auto",  # noqa: A002 -- as the setting is called
    levels: Levels | None = None,
    file: str = "",
) -> Writer:
    """
    Return the observer that writes the log to ``stream``.

    :param file: where ``stream`` lies, to be opened again; an absolute path.
    :param format: ``"json"``, ``"text"``, or ``"auto"``: text if ``stream`` is a terminal.
    """
    terminal = stream.isatty()

    def text(ts: str, level: str, event: str, msg: str, fields: Mapping[str, Any]) -> str:
        return text_line(ts, level, event, msg, fields.get("exc", ""), colour=terminal)

    as_text = format == "text" or (format == "auto" and terminal)
    return Writer(stream, text if as_text else json_line, levels or Levels(), file)
