"""
The relay's events: their names, levels, texts and fields, and how they get to the log.

The stations report events through :class:`smtprelay.interfaces.Events`. Each becomes one line of the log; all
its fields are in the JSON line.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from string import Formatter
from typing import Any, Final

from attrs import frozen
from twisted.logger import ILogObserver, Logger, LogLevel

from smtprelay.interfaces import Events
from smtprelay.model.privacy import NO_MASK, PrivacyMask
from smtprelay.telemetry.log_format import flattened, redacted
from smtprelay.telemetry.log_writer import Levels, LogWriter, make_observer

__all__ = ["EVENTS", "EventKind", "Fanout", "Levels", "Log", "make_observer"]


@frozen
class EventKind:
    """
    One kind of event.

    :ivar level: ``None`` for what only the metrics count.
    :ivar text: a format string over the event's fields, for people.
    :ivar other_fields: the fields that ``text`` does not have, divided by blanks.
    """

    level: LogLevel | None
    text: str
    other_fields: str = ""

    @property
    def fields(self) -> frozenset[str]:
        """All fields that it may have beside ``worker``, the number of the worker that reports it."""
        in_text = {name for _, name, _, _ in Formatter().parse(self.text) if name}
        return frozenset({*in_text, *self.other_fields.split()} - {"worker"})


#: All events: level, name, text, and behind the bar the fields that the text does not have. Of the level
#: ``count`` is what only the metrics count. The part of the name before the dot is its logger
#: (``smtprelay.<part>``). ``message`` is the id in the 250; an event of one delivery also has ``delivery``.
_EVENTS: Final = """
info relay.start: smtprelay {version} starts with {config}
info relay.ready: ready: {listeners}
info relay.tls: {listener}: {oldest} or later by {certificates}, ciphers: {ciphers}
error relay.failed: the relay cannot start: {reason} | status exc
info relay.stop: stopping: {reason}
info relay.drain: draining, no new mail is accepted: {who}
info relay.undrain: the drain is undone: {who}
count worker.waiting: worker {worker} waits for the spool's database
info worker.ready: worker {worker} is ready (process {pid})
error worker.unresponsive: worker {worker} (process {pid}) does not respond and is killed
error worker.died: worker {worker} (process {pid}) ended: {reason}; number {deaths} within an hour
info log.reopened: SIGHUP: the log continues in {file}
warn log.writable: the log can be written again, {lines} lines are missing
warn relay.warning: {text} | exc
info config.effective: the effective configuration | settings
info config.reloaded: {who} has reloaded the configuration: {changes}
error config.rejected: the relay continues as it was, the new configuration cannot be used: {reason} | who

debug session.open: {listener}: {client} connected
debug session.close: {listener}: {client} left after {seconds:.1f} s: {reason}
debug session.helo: {listener}: {client} calls itself '{helo}', which is not a name
debug session.xclient: {listener}: {client} speaks for {real}
debug session.tls: {listener}: {client} uses {version}
error session.failed: {listener}: {client}: unexpected error: {exc}
count smtp.reply: {listener}: {command} {code}
debug auth.ok: {listener}: {client} is {user} ({mechanism})
info smtp.refused: {listener}: {client} refused at {stage}: {status} {text} [{rule}], count {count}: {command}
    | user domain
warn auth.failed: {listener}: {client} failed login as {user} ({mechanism}): {status} {text}, count {count}
    | stage command domain rule

info message.queued: {message}: queued from <{sender}> to {recipients} ({size} bytes, {client} on {listener})
    | count user tls message_id
warn message.aborted: {listener}: {client} aborted its message from <{sender}> after {size} bytes: {reason}
    | user
error spool.unavailable: the spool is tried again in {seconds:.0f} s: {reason}
count spool.commit: {operations} operations committed in {seconds:.3f} s
info spool.recovered: {deliveries} deliveries taken up again after a crash
warn spool.reclaimed: {deliveries} deliveries taken over from a node that has stopped
warn history.pruned: the history of {messages} messages is removed early: the spool is too large
error spool.failed: spool: {operation}: {reason} | message
error task.failed: {task}, which is done periodically, failed: {reason}
info spool.writable: the spool can be written again
error spool.full: the spool is full: {reason}
info spool.accepting: the spool has room again
info queue.exported: {who}: {count} messages read for an export: {ids}
info queue.moved: {who}: {count} messages moved to another spool: {ids}
info queue.imported: {who}: {count} messages imported: {ids}
info hold_rule.added: {who}: hold rule {rule} is in force: {why}
info hold_rule.removed: hold rule {rule} has ended, its mail is released: {who}
info queue.read: {who}: read {part} of {message}
info refused.cleared: {who}: {count} rows of refused mail cleared
info queue.edited: {who}: {action} of {ids}: {why} | count

debug attempt.started: {delivery}: attempt {attempt} at {provider} | message
debug attempt.ended: {delivery}: attempt {attempt} at {provider}: {outcome} after {seconds:.3f} s | message
error attempt.crashed: {delivery}: attempt {attempt} at {provider}: unexpected error: {exc} | message
info message.delivered: {delivery}: delivered to {recipients} by {provider} ({provider_id})
    | message count age seconds
info message.deferred: {delivery}: deferred by {provider} for {delay:.0f} s: {reason} ({recipients})
    | message count age seconds
warn message.failed: {delivery}: failed at {provider}: {reason} ({recipients}) | message count age seconds
warn message.expired: {delivery}: expired: {reason} ({recipients}) | message provider count age seconds
warn message.held: {delivery}: held: {reason} | message provider age seconds
warn message.uncertain: {delivery}: uncertain at {provider}: {reason} | message recipients count age seconds
info message.bounced: {delivery}: bounced to <{to}> as {bounce} | message provider
info dsn.queued: {delivery}: {kind} report to <{to}> queued as {notice} | message provider
info webhook.queued: {delivery}: event for the webhook queued as {report} | message
info message.corrected: {delivery}: {field} corrected for {provider}: {reason} | message
error lane.blocked: {provider} {lane} is blocked: {reason} | until
info lane.changed: {who}: {provider} {lane}: {action}: {why}
warn lane.throttled: {provider} {lane} is throttled: {reason}
info lane.unblocked: {provider} {lane} is open again
warn provider.failing: {provider} {trouble}, for {seconds:.0f} s: {reason} | host stage
info provider.recovered: {provider} works again after {seconds:.0f} s
info provider.rate: {provider} allows {rate}
info credential.renewed: {provider}: new credentials from {source} | seconds
error credential.failed: {provider}: no new credentials: {reason}
error provider.row: {provider}: the row {domain} of domain_table: {reason}
warn secret.expiring: {name} {text} | time
debug provider.request: {provider}: {operation} {code} in {seconds:.3f} s
count dkim.signature: a signature of {domain} by {selector}: {outcome}
error dkim.failing: no mail of {domain} can be signed by {selector}: {reason}
info dkim.recovered: mail of {domain} is signed by {selector} again
debug mime.started: the MIME worker runs (process {pid})
warn mime.ended: the MIME worker (process {pid}) ended: {reason}
debug http.request: {client}: {method} {path} {code} | route
"""

_DECLARATION: Final = re.compile(r"^(\w+) ([\w.]+): (.+?)(?:\s+\| (.+))?$", re.MULTILINE)

#: Every event, by its name.
EVENTS: Final[dict[str, EventKind]] = {
    name: EventKind(None if level == "count" else LogLevel.levelWithName(level), text, other_fields)
    for level, name, text, other_fields in _DECLARATION.findall(_EVENTS)
}

#: Takes the fields of one kind of event.
Handler = Callable[[Mapping[str, object]], object]

#: Writes an event: its message and its fields.
_Write = Callable[[str, Mapping[str, object]], object]

#: A text that no fields fit, so that :func:`_message` lists them.
_ALL_FIELDS: Final = "{}"


class Log:
    """
    The :class:`smtprelay.interfaces.Events` that passes events on to :mod:`twisted.logger`.

    An event below its level costs one look into a dictionary.

    :param observer: what gets the events; by default the observers of Twisted's own log.
    :param more: fields that are added to each event.
    :ivar writer: the observer if it writes the log itself.
    """

    def __init__(
        self, levels: Levels | None = None, observer: ILogObserver | None = None, **more: object
    ) -> None:
        self._observer: Any = observer
        self.writer: LogWriter | None = self._observer if isinstance(self._observer, LogWriter) else None
        self._more = more
        self.use(levels or Levels())

    def use(self, levels: Levels, mask: PrivacyMask = NO_MASK) -> None:
        """Write by ``levels`` from now on; ``mask`` is for the events of others: ours are masked before."""
        self._targets: dict[str, tuple[_Write, str]] = {
            event: (self._writer(event, kind.level), kind.text)
            for event, kind in EVENTS.items()
            if kind.level is not None and kind.level >= levels.of(namespace(event))
        }
        if self.writer is not None:
            self.writer.use(levels, mask)

    def __call__(self, event: str, /, **fields: object) -> None:
        """Write one line if the event's level is logged; an unknown event is a warning."""
        self._handle(event, fields)

    def handler_for(self, event: str) -> Handler | None:
        """Return what writes events of this kind, ``None`` if they are never written."""
        kind = EVENTS.get(event)
        return None if kind is not None and kind.level is None else partial(self._handle, event)

    def _handle(self, event: str, fields: Mapping[str, object]) -> None:
        known = self._targets.get(event)
        if known is None:
            if event in EVENTS:
                return
            known = (self._writer(event, LogLevel.warn), _ALL_FIELDS)
        write, text = known
        open_fields = redacted({**fields, **self._more} if self._more else fields)
        shown = open_fields
        if "exc" in fields:
            open_fields["exc"] = whole = flattened(open_fields["exc"])
            shown = {**open_fields, "exc": whole.rpartition("\n")[2]}
        write(_message(event, text, shown), open_fields)

    def _writer(self, event: str, level: Any) -> "_Write":
        """Return what writes ``event``; a :class:`LogWriter` is called directly, which is faster."""
        if (writer := self.writer) is not None:
            return lambda msg, fields: writer.write(level.name, event, msg, fields, time.time())
        logger = Logger(namespace(event), observer=self._observer)
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
    An :class:`smtprelay.interfaces.Events` that passes each event on to several observers.

    An observer that has a method ``handler_for(event)`` is asked once for each kind of event: it returns what
    takes the fields, which all observers share, or ``None`` if it does not want such events.

    :ivar mask: hides what no observer may know.
    """

    _log = Logger()

    def __init__(self, observers: Iterable[Events], mask: PrivacyMask = NO_MASK) -> None:
        self.mask = mask
        self._observers = tuple(observers)
        self._handlers: dict[str, Sequence[tuple[Events, Handler]]] = {}
        self._broken: set[tuple[int, str]] = set()

    def __call__(self, event: str, /, **fields: object) -> None:
        """Call every observer; one that raises is reported once for each kind of event."""
        shown = self.mask.fields(fields) if self.mask.hides else fields
        for observer, handler in self._handlers.get(event) or self._observing(event):
            try:
                handler(shown)
            except Exception:  # noqa: BLE001 -- an observer must not stop the mail
                self._report(observer, event)

    def _observing(self, event: str) -> "Sequence[tuple[Events, Handler]]":
        handlers = [(observer, _handler(observer, event)) for observer in self._observers]
        observing = [(observer, handler) for observer, handler in handlers if handler is not None]
        if event in EVENTS:  # other names may be without number
            self._handlers[event] = observing
        return observing

    def _report(self, observer: Events, event: str) -> None:
        if (id(observer), event) not in self._broken:
            self._broken.add((id(observer), event))
            self._log.failure("{observer} cannot take {event}", observer=observer, event=event)


def _handler(observer: Events, event: str) -> Handler | None:
    """Return what takes ``event`` in ``observer``; if it can, without the cost of keyword arguments."""
    ask: Callable[[str], Handler | None] | None = getattr(observer, "handler_for", None)
    return ask(event) if ask is not None else lambda fields: observer(event, **fields)
