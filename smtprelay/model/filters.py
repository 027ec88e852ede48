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

    :ivar option: of the command line, where it has one, with its value's name and its help.
    :ivar columns: what a text is compared with: of a delivery ``d``, its message ``m``, its lane ``l``, its
        recipients ``r``, its client ``c``; one is enough. Of a number: the whole condition.
    :ivar part: a part of the text is enough; else all of it must match. A ``*`` stands for anything.
    :ivar kind: ``time`` is in seconds since the epoch, ``size`` in bytes.
    """

    name: str
    option: str = ""
    metavar: str | None = None
    help: str = ""
    columns: tuple[str, ...] = ()
    part: bool = False
    kind: Literal["texts", "text", "time", "size"] = "text"

    @property
    def parameter(self) -> str:
        """What it is called in a query, where a list is a parameter for each of its values."""
        return self.name.removesuffix("s") if self.kind == "texts" else self.name


_TIMES: Final = "2h (ago), 14:30, 2026-11-24"

FILTERS: Final = (
    Filter("ids", kind="texts"),
    Filter("states", "--state", None, "Only in this state; repeatable.", kind="texts"),
    Filter(
        "text",
        "--text",
        "TEXT",
        "Part of the sender, a recipient, the subject or Message-ID.",
        ("m.sender", "m.subject", "m.message_id", "r.address"),
        part=True,
    ),
    Filter("sender", "--from", "ADDRESS", "Only from this sender; * is anything.", ("m.sender",)),
    Filter("provider", "--provider", "NAME", "Only mail for this provider.", ("l.provider",)),
    Filter("recipient", "--to", "ADDRESS", "Only to this recipient.", ("r.address",)),
    Filter("route", "--route", "NAME", "Only mail of this route.", ("d.route",)),
    Filter("lane", "--lane", "KEY", "Only from this lane of a provider.", ("l.key",)),
    Filter(
        "subject", "--subject", "TEXT", "Part of the subject, or a pattern with *.", ("m.subject",), part=True
    ),
    Filter("message_id", "--message-id", "ID", "Message-ID from the header.", ("m.message_id",)),
    Filter("provider_id", "--provider-id", "ID", "The provider's id of the mail.", ("r.provider_id",)),
    Filter("error", "--error", "TEXT", "Part of the last error.", ("d.reason", "r.reason"), part=True),
    Filter(
        "client", "--client", "ADDRESS", "Only from this client's IP address; * is anything.", ("c.address",)
    ),
    Filter("user", "--user", "NAME", "Only from this logged-in user.", ("c.user",)),
    Filter("min_size", "--larger", "SIZE", "At least this size: 2MB, 2MiB.", ("m.size >= ?",), kind="size"),
    Filter("since", "--since", "WHEN", f"Received at or after: {_TIMES}.", ("m.received >= ?",), kind="time"),
    Filter("until", "--until", "WHEN", "Received before this time.", ("m.received < ?",), kind="time"),
)
