"""Where mail goes: a route, what its providers take and how fast, and when it is tried again."""

from collections.abc import Iterator, Sequence
from typing import Final

from attrs import field, frozen

from smtprelay.model.shape import Shape

#: The name of the built-in provider of events, of the route of its messages, and of the relay's own webhook.
WEBHOOK: Final = "webhook"


@frozen(kw_only=True)
class Limits:
    """
    What a provider takes in one message; ``None`` is no known limit.

    :ivar size: most bytes of the mail as the client sends it. Default: what the provider documents.
        Example: ``25MB``.
    :ivar request: most bytes of the request to the provider. Default: what the provider documents.
        Example: ``10MB``.
    :ivar recipients: most recipients of one request; mail to more becomes several deliveries.
        Default: what the provider documents. Example: ``50``.
    """

    size: int | None = None
    request: int | None = None
    recipients: int | None = None


@frozen(kw_only=True)
class NextHop:
    """
    What the next server takes of a mail in MIME.

    :ivar eight_bit: octets that are not ASCII, in the content.
    :ivar raw_fields: such octets in header fields.
    :ivar commands: how the names of header fields begin that are commands to it, in lower case: no client may
        give any, so they are left out.
    :ivar once: fields that it takes once in a mail, in lower case: the first stays.
    :ivar replaced: fields that it writes anew, in lower case: no signature can cover them.
    :ivar by_header: it gets no envelope: whom To, Cc and Bcc name gets the mail.
    :ivar quoted_printable: parts in this encoding; else they become base64, but for those that are signed.
    """

    eight_bit: bool = True
    raw_fields: bool = True
    commands: Sequence[str] = ()
    once: Sequence[str] = ()
    replaced: Sequence[str] = ()
    by_header: bool = False
    quoted_printable: bool = True

    def takes_fields(self, names: Sequence[str]) -> bool:
        """Tell whether a header may have fields of these names, which are in lower case."""
        return not any(self.refused(names))

    def refused(self, names: Sequence[str]) -> Iterator[bool]:
        """Give for each of these fields whether it is left out."""
        beginnings, seen = tuple(self.commands), set()
        for name in names:
            yield name.startswith(beginnings) or (name in seen and name in self.once)
            seen.add(name)

    def takes(self, shape: Shape) -> bool:
        """Tell whether content of this shape can be sent as it stands."""
        return not shape.long_lines and (self.eight_bit or not shape.eight_bit)


@frozen(kw_only=True)
class Window:
    """
    At most ``count`` in any ``seconds``.

    :ivar unit: what is counted: ``"messages"`` (requests), ``"recipients"`` or ``"bytes"``.
    """

    count: int
    seconds: float
    unit: str = "messages"


@frozen(kw_only=True)
class RateLimit:
    """
    How fast a provider may be asked.

    :ivar concurrency: requests at once, over all its lanes.
    :ivar per_lane: requests at once in one lane; ``None``: a fair share.
    :ivar windows: of the provider; all of them hold at once.
    :ivar lane_windows: of each lane within it; these hold as well.
    """

    concurrency: int = 10
    per_lane: int | None = None
    windows: tuple[Window, ...] = ()
    lane_windows: tuple[Window, ...] = ()


@frozen(kw_only=True)
class Schedule:
    """
    When a deferred delivery is tried again: after ``first * factor ** n`` seconds, at most ``max``.

    :ivar first: wait after the first refusal.
    :ivar factor: each wait is this many times the one before.
    :ivar max: longest wait.
    :ivar jitter: each wait is varied at random by up to this share of it.
    :ivar attempts: give up after this many refusals by all providers together. Default: no limit.
        Example: ``20``.
    """

    first: float = 30.0
    factor: float = 2.0
    max: float = 3600.0
    jitter: float = 0.2
    attempts: int | None = None


@frozen(kw_only=True)
class Route:
    """
    What happens to the deliveries of one route after they were accepted.

    :ivar via: provider names, in the order of failover; at least one.
    :ivar failover_after: deferred attempts at one provider before the next one is asked.
    :ivar expire: seconds after which a delivery that was deferred once more ends; ``None`` is never.
    :ivar on_failed: ``"bounce"``, ``"hold"``, ``"discard"`` or ``"webhook"``; the same for ``on_expired``.
    :ivar on_uncertain: ``"resend"`` or ``"hold"``, where the provider cannot tell.
    """

    name: str
    via: tuple[str, ...]
    failover_after: int = 3
    retry: Schedule = field(factory=Schedule)
    expire: float | None = 2 * 86400.0
    on_failed: str = "bounce"
    on_expired: str = "bounce"
    on_uncertain: str = "resend"
