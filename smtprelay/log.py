"""
What the relay says of itself: one line an event, with stable names.

The stations report through :class:`smtprelay.interfaces.Events`; this module
says how important each event is and how a person reads it. Fields that make
no good sentence still go into the JSON line.
"""

from typing import Final

from attrs import frozen
from twisted.logger import LogLevel


@frozen
class Kind:
    """
    One kind of event.

    :ivar level: ``None`` for what only the metrics hear.
    :ivar text: a format string over the event's fields, for people.
    """

    level: LogLevel | None
    text: str


#: Every event there is, by name. The part before the dot is its logger (``smtprelay.<part>``).
EVENTS: Final[dict[str, Kind]] = {
    "relay.start": Kind(LogLevel.info, "smtprelay {version} starts with {config}"),
    "relay.ready": Kind(LogLevel.info, "ready: {listeners}"),
    "relay.stop": Kind(LogLevel.info, "stopping: {reason}"),
    "relay.warning": Kind(LogLevel.warn, "{text}"),
    "config.effective": Kind(LogLevel.info, "configuration: {settings}"),
    # smtp
    "session.open": Kind(LogLevel.debug, "{listener}: {client} connected"),
    "session.close": Kind(LogLevel.debug, "{listener}: {client} left after {seconds:.1f} s: {reason}"),
    "session.refused": Kind(LogLevel.warn, "{listener}: {client} refused: {reason}"),
    "session.tls": Kind(LogLevel.debug, "{listener}: {client} speaks {version}"),
    "session.failed": Kind(LogLevel.error, "{listener}: {client}: unexpected error: {exc}"),
    "smtp.reply": Kind(None, "{listener}: {command} {code}"),
    "auth.ok": Kind(LogLevel.debug, "{listener}: {client} is {user} ({mechanism})"),
    "auth.failed": Kind(LogLevel.warn, "{listener}: {client} failed to log in ({mechanism}): {reason}"),
    # policy
    "policy.refused": Kind(
        LogLevel.info, "{listener}: {client} refused at {stage}: {code} {enhanced} {text} [{rule}]"
    ),
    # spool
    "message.queued": Kind(
        LogLevel.info, "{id}: queued from <{sender}> to {recipients} ({size} bytes, {client} on {listener})"
    ),
    "spool.commit": Kind(None, "{operations} operations committed in {seconds:.3f} s"),
    "spool.recovered": Kind(LogLevel.info, "{deliveries} deliveries taken up again after a crash"),
    "spool.failed": Kind(LogLevel.error, "spool: {operation}: {reason}"),
    "queue.edited": Kind(LogLevel.info, "{who}: {action} of {ids}: {why}"),
    # dispatch
    "attempt.started": Kind(LogLevel.debug, "{id}: attempt {attempt} at {provider}"),
    "attempt.ended": Kind(
        LogLevel.debug, "{id}: attempt {attempt} at {provider}: {outcome} after {seconds:.3f} s"
    ),
    "attempt.crashed": Kind(LogLevel.error, "{id}: attempt {attempt} at {provider}: unexpected error: {exc}"),
    "message.delivered": Kind(LogLevel.info, "{id}: delivered to {recipients} by {provider} ({provider_id})"),
    "message.deferred": Kind(
        LogLevel.info, "{id}: deferred by {provider} for {delay:.0f} s: {reason} ({recipients})"
    ),
    "message.failed": Kind(LogLevel.warn, "{id}: failed at {provider}: {reason} ({recipients})"),
    "message.expired": Kind(LogLevel.warn, "{id}: expired: {reason} ({recipients})"),
    "message.held": Kind(LogLevel.warn, "{id}: held: {reason}"),
    "message.uncertain": Kind(LogLevel.warn, "{id}: uncertain at {provider}: {reason}"),
    "message.bounced": Kind(LogLevel.info, "{id}: bounced to <{to}> as {bounce}"),
    "lane.blocked": Kind(LogLevel.error, "{provider} {lane}: blocked: {reason}"),
    "lane.open": Kind(LogLevel.info, "{provider} {lane}: open again"),
    # providers, web
    "provider.request": Kind(LogLevel.debug, "{provider}: {operation} {code} in {seconds:.3f} s"),
    "http.request": Kind(LogLevel.debug, "{client}: {method} {path} {code}"),
}
