"""
The filters of the queue in one table: of it the options, the parameters of the API and the SQL are made.

It imports nothing, because every command waits for it.
"""

from typing import Final, Literal, NamedTuple

#: The states of a delivery, in the order of its life.
STATES: Final = ("queued", "active", "deferred", "held", "delivered", "failed", "deleted")


class Filter(NamedTuple):
    """
    One field of :class:`smtprelay.model.queue.Selection`.

    :ivar kind: ``time`` is in seconds since the epoch, ``size`` in bytes.
    :ivar option: of the command line, where it has one, with its value's name and its help.
    :ivar columns: what a text is compared with: of a delivery ``d``, its message ``m``, its lane ``l``, its
        recipients ``r``, its client ``c``; one is enough. Of a number: the whole condition.
    :ivar part: a part of the text is enough; else all of it must match. A ``*`` stands for anything.
    """

    name: str
    kind: Literal["texts", "text", "time", "size"] = "text"
    option: str = ""
    metavar: str | None = None
    help: str = ""
    columns: tuple[str, ...] = ()
    part: bool = False

    @property
    def parameter(self) -> str:
        """What it is called in a query, where a list is a parameter for each of its values."""
        return self.name.removesuffix("s") if self.kind == "texts" else self.name


def _text(name: str, option: str, metavar: str, help_: str, *columns: str, part: bool = False) -> Filter:
    return Filter(name, "text", option, metavar, help_, columns, part)


_TIMES: Final = "2h (ago), 14:30, 2026-11-24"

FILTERS: Final = (
    Filter("ids", "texts"),
    Filter("states", "texts", "--state", None, "Only in this state; repeatable."),
    _text(
        "text",
        "--text",
        "TEXT",
        "Part of the sender, a recipient, the subject or Message-ID.",
        *("m.sender", "m.subject", "m.message_id", "r.address"),
        part=True,
    ),
    _text("sender", "--from", "ADDRESS", "Only from this sender; * is anything.", "m.sender"),
    _text("provider", "--provider", "NAME", "Only mail for this provider.", "l.provider"),
    _text("recipient", "--to", "ADDRESS", "Only to this recipient.", "r.address"),
    _text("route", "--route", "NAME", "Only mail of this route.", "d.route"),
    _text("lane", "--lane", "KEY", "Only from this lane of a provider.", "l.key"),
    _text(
        "subject", "--subject", "TEXT", "Part of the subject, or a pattern with *.", "m.subject", part=True
    ),
    _text("message_id", "--message-id", "ID", "Message-ID from the header.", "m.message_id"),
    _text("provider_id", "--provider-id", "ID", "The provider's id of the mail.", "r.provider_id"),
    _text("error", "--error", "TEXT", "Part of the last error.", "d.reason", "r.reason", part=True),
    _text("client", "--client", "ADDRESS", "Only from this client's IP address; * is anything.", "c.address"),
    _text("user", "--user", "NAME", "Only from this logged-in user.", "c.user"),
    Filter("min_size", "size", "--larger", "SIZE", "At least this size: 2MB, 2MiB.", ("m.size >= ?",)),
    Filter("since", "time", "--since", "WHEN", f"Received at or after: {_TIMES}.", ("m.received >= ?",)),
    Filter("until", "time", "--until", "WHEN", "Received before this time.", ("m.received < ?",)),
)
