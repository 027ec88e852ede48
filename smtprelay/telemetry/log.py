"""
What the relay says of itself: one line an event, with stable names.

The stations report through :class:`smtprelay.interfaces.Events`; this module
says how important each event is and how a person reads it. Fields that make
no good sentence still go into the JSON line.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from string import Formatter
from typing import Any, Final

from attrs import frozen
from twisted.logger import ILogObserver, Logger, LogLevel

from smtprelay.interfaces import Events
from smtprelay.telemetry.log_format import flattened, redacted
from smtprelay.telemetry.log_writer import Levels, LogTrouble, LogWriter, make_observer

__all__ = ["EVENTS", "EventKind", "Fanout", "Levels", "Log", "make_observer"]


@frozen
class EventKind:
    """
    One kind of event.

    :ivar level: ``None`` for what only the metrics hear.
    :ivar text: a format string over the event's fields, for people.
    :ivar unsaid: the fields that ``text`` does not have, divided by blanks.

    A mail is ``message``, the id in its 250; what became of one of its deliveries has ``delivery``, too.
    """

    level: LogLevel | None
    text: str
    unsaid: str = ""

    @property
    def fields(self) -> frozenset[str]:
        """All fields that it may have beside ``worker``: the number of the worker that tells it."""
        said = {name for _, name, _, _ in Formatter().parse(self.text) if name}
        return frozenset({*said, *self.unsaid.split()} - {"worker"})


#: Every event there is, by name. The part before the dot is its logger (``smtprelay.<part>``).
EVENTS: Final[dict[str, EventKind]] = {
    "relay.start": EventKind(LogLevel.info, "smtprelay {version} starts with {config}"),
    "relay.ready": EventKind(LogLevel.info, "ready: {listeners}"),
    "relay.failed": EventKind(LogLevel.error, "the relay cannot start: {reason}", "status exc"),
    "relay.stop": EventKind(LogLevel.info, "stopping: {reason}"),
    "relay.drain": EventKind(LogLevel.info, "draining, nothing new is taken: {who}"),
    "relay.undrain": EventKind(LogLevel.info, "not draining any more: {who}"),
    "worker.waiting": EventKind(None, "worker {worker} waits for the spool's database"),
    "worker.ready": EventKind(LogLevel.info, "worker {worker} is ready (process {pid})"),
    "worker.unresponsive": EventKind(
        LogLevel.error, "worker {worker} (process {pid}) stands still: it is killed"
    ),
    "worker.died": EventKind(
        LogLevel.error, "worker {worker} (process {pid}) ended: {reason}; number {deaths} within an hour"
    ),
    "log.reopened": EventKind(LogLevel.info, "SIGHUP: the log goes on in {file}"),
    "log.writable": EventKind(LogLevel.warn, "the log can be written again, {lines} lines are missing"),
    "relay.warning": EventKind(LogLevel.warn, "{text}", "exc"),
    "config.effective": EventKind(LogLevel.info, "the effective configuration", "settings"),
    # smtp
    "session.open": EventKind(LogLevel.debug, "{listener}: {client} connected"),
    "session.close": EventKind(LogLevel.debug, "{listener}: {client} left after {seconds:.1f} s: {reason}"),
    "session.helo": EventKind(LogLevel.debug, "{listener}: {client} calls itself '{helo}', which is no name"),
    "session.tls": EventKind(LogLevel.debug, "{listener}: {client} speaks {version}"),
    "session.failed": EventKind(LogLevel.error, "{listener}: {client}: unexpected error: {exc}"),
    "smtp.reply": EventKind(None, "{listener}: {command} {code}"),
    "auth.ok": EventKind(LogLevel.debug, "{listener}: {client} is {user} ({mechanism})"),
    "smtp.refused": EventKind(
        LogLevel.info,
        "{listener}: {client} refused at {stage}: {status} {text} [{rule}], count {count}: {command}",
        "user domain",
    ),
    "auth.failed": EventKind(
        LogLevel.warn,
        "{listener}: {client} failed to log in as {user} ({mechanism}): {status} {text}, count {count}",
        "stage command domain rule",
    ),
    # spool
    "message.queued": EventKind(
        LogLevel.info,
        "{message}: queued from <{sender}> to {recipients} ({size} bytes, {client} on {listener})",
        "count user tls message_id",
    ),
    "message.aborted": EventKind(
        LogLevel.warn,
        "{listener}: {client} did not end its message from <{sender}>, {size} bytes came: {reason}",
        "user",
    ),
    "spool.unavailable": EventKind(LogLevel.error, "the spool is tried again in {seconds:.0f} s: {reason}"),
    "spool.commit": EventKind(None, "{operations} operations committed in {seconds:.3f} s"),
    "spool.recovered": EventKind(LogLevel.info, "{deliveries} deliveries taken up again after a crash"),
    "spool.reclaimed": EventKind(
        LogLevel.warn, "{deliveries} deliveries taken over from a node that has stopped"
    ),
    "history.pruned": EventKind(
        LogLevel.warn, "the history of {messages} messages is removed early: the spool is too large"
    ),
    "spool.failed": EventKind(LogLevel.error, "spool: {operation}: {reason}", "message"),
    "spool.writable": EventKind(LogLevel.info, "the spool can be written again"),
    "spool.full": EventKind(LogLevel.error, "the spool is full: {reason}"),
    "spool.accepting": EventKind(LogLevel.info, "the spool has room again"),
    "queue.exported": EventKind(LogLevel.info, "{who}: {count} messages read for an export: {ids}"),
    "queue.moved": EventKind(LogLevel.info, "{who}: {count} messages moved to another spool: {ids}"),
    "queue.imported": EventKind(LogLevel.info, "{who}: {count} messages imported: {ids}"),
    "hold_rule.added": EventKind(LogLevel.info, "{who}: hold rule {rule} is in force: {why}"),
    "hold_rule.removed": EventKind(LogLevel.info, "hold rule {rule} has ended, its mail is released: {who}"),
    "queue.read": EventKind(LogLevel.info, "{who}: read {part} of {message}"),
    "refused.cleared": EventKind(LogLevel.info, "{who}: {count} rows of refused mail cleared"),
    "queue.edited": EventKind(LogLevel.info, "{who}: {action} of {ids}: {why}", "count"),
    # dispatch
    "attempt.started": EventKind(LogLevel.debug, "{delivery}: attempt {attempt} at {provider}", "message"),
    "attempt.ended": EventKind(
        LogLevel.debug,
        "{delivery}: attempt {attempt} at {provider}: {outcome} after {seconds:.3f} s",
        "message",
    ),
    "attempt.crashed": EventKind(
        LogLevel.error, "{delivery}: attempt {attempt} at {provider}: unexpected error: {exc}", "message"
    ),
    "message.delivered": EventKind(
        LogLevel.info,
        "{delivery}: delivered to {recipients} by {provider} ({provider_id})",
        "message count age seconds",
    ),
    "message.deferred": EventKind(
        LogLevel.info,
        "{delivery}: deferred by {provider} for {delay:.0f} s: {reason} ({recipients})",
        "message count age seconds",
    ),
    "message.failed": EventKind(
        LogLevel.warn,
        "{delivery}: failed at {provider}: {reason} ({recipients})",
        "message count age seconds",
    ),
    "message.expired": EventKind(
        LogLevel.warn, "{delivery}: expired: {reason} ({recipients})", "message provider count age seconds"
    ),
    "message.held": EventKind(LogLevel.warn, "{delivery}: held: {reason}", "message provider age seconds"),
    "message.uncertain": EventKind(
        LogLevel.warn, "{delivery}: uncertain at {provider}: {reason}", "message recipients count age seconds"
    ),
    "message.bounced": EventKind(
        LogLevel.info, "{delivery}: bounced to <{to}> as {bounce}", "message provider"
    ),
    "dsn.queued": EventKind(
        LogLevel.info, "{delivery}: {kind} report to <{to}> queued as {notice}", "message provider"
    ),
    "webhook.queued": EventKind(LogLevel.info, "{delivery}: reported to the webhook as {report}", "message"),
    "message.corrected": EventKind(
        LogLevel.info, "{delivery}: {field} corrected for {provider}: {reason}", "message"
    ),
    "lane.blocked": EventKind(LogLevel.error, "{provider} {lane} is blocked: {reason}", "until"),
    "lane.changed": EventKind(LogLevel.info, "{who}: {provider} {lane}: {action}: {why}"),
    "lane.throttled": EventKind(LogLevel.warn, "{provider} {lane} slows down: {reason}"),
    "lane.unblocked": EventKind(LogLevel.info, "{provider} {lane} is open again"),
    "provider.failing": EventKind(
        LogLevel.warn, "{provider} cannot be reached, for {seconds:.0f} s: {reason}", "host stage"
    ),
    "provider.recovered": EventKind(LogLevel.info, "{provider} is reached again after {seconds:.0f} s"),
    # work on mail
    "mime.started": EventKind(LogLevel.debug, "the MIME worker runs (process {pid})"),
    "mime.ended": EventKind(LogLevel.warn, "the MIME worker (process {pid}) ended: {reason}"),
    # providers, web
    "provider.request": EventKind(LogLevel.debug, "{provider}: {operation} {code} in {seconds:.3f} s"),
    "http.request": EventKind(LogLevel.debug, "{client}: {method} {path} {code}", "route"),
}


#: Takes the fields of one kind of event.
Ear = Callable[[Mapping[str, object]], object]

#: Writes an event: its message and its fields.
_Way = Callable[[str, Mapping[str, object]], object]

#: A text that no fields fit, so that :func:`_message` lists them.
_ALL_FIELDS: Final = "{}"


class Log:
    """
    The :class:`smtprelay.interfaces.Events` that hands events on to :mod:`twisted.logger`.

    What is below its level costs one look into a dictionary.

    :param observer: who gets them; by default whoever listens to Twisted's own log.
    :param more: what each of them has beside its own fields.
    """

    def __init__(
        self, levels: Levels | None = None, observer: ILogObserver | None = None, **more: object
    ) -> None:
        self._observer = observer
        self._more = more
        self.use(levels or Levels())

    def use(self, levels: Levels) -> None:
        """Write by ``levels`` from now on."""
        self._targets: dict[str, tuple[_Way, str]] = {
            event: (self._way(event, kind.level), kind.text)
            for event, kind in EVENTS.items()
            if kind.level is not None and kind.level >= levels.of(namespace(event))
        }

    def reopen(self) -> str:
        """Write on in the file that has the log's name now; return it, ``""`` for what is no file."""
        return self._observer.reopen() if isinstance(self._observer, LogWriter) else ""

    @property
    def trouble(self) -> LogTrouble | None:
        """Why it cannot be written, if so."""
        return self._observer.trouble if isinstance(self._observer, LogWriter) else None

    def recovered(self) -> int | None:
        """Say once, and only when it can be written again, how many of its lines are missing."""
        return self._observer.recovered() if isinstance(self._observer, LogWriter) else None

    def __call__(self, event: str, /, **fields: object) -> None:
        """Write one line, unless nobody asked for its level; an unknown event is a warning."""
        self._hear(event, fields)

    def handler_for(self, event: str) -> Ear | None:
        """Return what writes events of this kind, or ``None`` if they never are; see :class:`Fanout`."""
        kind = EVENTS.get(event)
        return None if kind is not None and kind.level is None else partial(self._hear, event)

    def _hear(self, event: str, fields: Mapping[str, object]) -> None:
        known = self._targets.get(event)
        if known is None:
            if event in EVENTS:
                return
            known = (self._way(event, LogLevel.warn), _ALL_FIELDS)
        write, text = known
        open_fields = redacted({**fields, **self._more} if self._more else fields)
        told = open_fields
        if "exc" in fields:
            open_fields["exc"] = whole = flattened(open_fields["exc"])
            told = {**open_fields, "exc": whole.rpartition("\n")[2]}
        write(_message(event, text, told), open_fields)

    def _way(self, event: str, level: Any) -> "_Way":
        """Return what writes ``event``: straight to the lines, if they are all that listens."""
        observer: Any = self._observer
        if isinstance(observer, LogWriter):
            return lambda msg, fields: observer.write(level.name, event, msg, fields, time.time())
        logger = Logger(namespace(event), observer=observer)
        # As one value, because a field may be called like a parameter of emit().
        return lambda msg, fields: logger.emit(
            level, "{msg}", msg=msg, relay_event=event, relay_fields=fields
        )


def namespace(event: str) -> str:
    """Return the name of the logger that ``event`` belongs to."""
    return f"smtprelay.{event.partition('.')[0]}"


def _message(event: str, text: str, fields: Mapping[str, object]) -> str:
    if fields.get("lane") == "":
        text = text.replace(" {lane}", "")  # the provider's own
    try:
        return text.format_map(fields)
    except (LookupError, ValueError, TypeError, AttributeError):  # a field is missing, or is no number
        return " ".join((event, *(f"{name}={value}" for name, value in fields.items())))


class Fanout:
    """
    An :class:`smtprelay.interfaces.Events` that tells several, and survives all of them.

    A listener that has a method ``handler_for(event)`` is asked once for each kind of event: it returns what
    takes the fields, all listeners the same mapping, or ``None`` if such events are nothing to it.
    """

    _log = Logger()

    def __init__(self, listeners: Iterable[Events]) -> None:
        self._listeners = tuple(listeners)
        self._ears: dict[str, Sequence[tuple[Events, Ear]]] = {}
        self._broken: set[tuple[int, str]] = set()

    def __call__(self, event: str, /, **fields: object) -> None:
        """Tell every listener; one that raises is reported once for each kind of event."""
        for listener, hear in self._ears.get(event) or self._listen(event):
            try:
                hear(fields)
            except Exception:  # noqa: BLE001 -- mail must not stop because of who listens
                self._report(listener, event)

    def _listen(self, event: str) -> "Sequence[tuple[Events, Ear]]":
        ears = [(listener, _ear(listener, event)) for listener in self._listeners]
        listening = [(listener, handler_for) for listener, handler_for in ears if handler_for is not None]
        if event in EVENTS:  # there is an end to those
            self._ears[event] = listening
        return listening

    def _report(self, listener: Events, event: str) -> None:
        if (id(listener), event) not in self._broken:
            self._broken.add((id(listener), event))
            self._log.failure("{listener} cannot take {event}", listener=listener, event=event)


def _ear(listener: Events, event: str) -> Ear | None:
    """Return what hears ``event`` in ``listener``; to spread the fields anew costs as much as to count."""
    ask: Callable[[str], Ear | None] | None = getattr(listener, "handler_for", None)
    return ask(event) if ask is not None else lambda fields: listener(event, **fields)
