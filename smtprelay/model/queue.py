"""
The values with which the queue is asked and changed. All of them go to JSON by :func:`attrs.asdict`.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import asdict, frozen

from smtprelay.model import filters
from smtprelay.model.message import Delivery

STATES: Final = filters.STATES
#: The states that a delivery leaves only by an operator's hand, if at all.
FINAL = ("delivered", "failed", "deleted")
#: The states that nothing ends: such a delivery needs the message's body no more.
FOR_GOOD: Final = ("delivered", "deleted")

#: What an operator does to deliveries; in their history these stand between the outcomes of attempts.
ACTIONS: Final = ("retry", "hold", "release", "delete", "reroute")

#: The same in the history of a delivery, where earlier versions wrote ``redirect`` for a reroute.
RECORDED: Final = (*ACTIONS, "redirect")

#: What stands in the histories of both deliveries when one was split; no attempt either.
SPLIT: Final = "split"

#: The null sender in a pattern, and as it is shown.
NOBODY: Final = "<>"

#: A provider that an operator suspended is blocked until then: no probe of ours opens it.
SUSPENDED: Final = 253_370_764_800.0

#: How the reason of a lane begins that is only paused.
ASKED_TO_WAIT: Final = "asked to wait"


#: The stage of a provider that answers, and defers each mail.
TAKES_NO_MAIL: Final = "mail"


@frozen
class Unreachable:
    """
    Since when nothing has reached a provider, and where that ends; or since when it takes no mail.

    :ivar since: when the first request that came to nothing came to a halt, seconds since the epoch.
    :ivar host: where it is looked for: a name or an address, and the port.
    :ivar stage: how far a request comes: ``resolve``, ``connect``, ``TLS``, ``greeting``, a verb of SMTP, or
        ``request``; :data:`TAKES_NO_MAIL` of one that answers.
    :ivar reason: the last error in one line, with stage and host.
    """

    provider: str
    since: float
    host: str
    stage: str
    reason: str

    @property
    def trouble(self) -> str:
        """What a provider does not do, in words."""
        return "takes no mail" if self.stage == TAKES_NO_MAIL else "cannot be reached"


@frozen(kw_only=True)
class DueSelection:
    """
    What waits in a lane that does not run, for a reroute of the relay's own.

    :ivar lane: the key; ``""`` is all lanes of the provider.
    :ivar routes: only deliveries of these routes, and none that is uncertain.
    :ivar lost: also what is uncertain: no provider can resolve it any more.
    :ivar since: only what has become due since, seconds since the epoch; ``until``: and by then.
    :ivar limit: maximum number that one step examines.
    """

    provider: str
    lane: str
    routes: Sequence[str]
    lost: Sequence[str] = ()
    since: float = 0.0
    until: float
    limit: int = 100


@frozen(kw_only=True)
class Overdue:
    """
    A delivery that has waited for long.

    :ivar reason: the last error, or why its lane is blocked, or ``""``.
    :ivar age: as :attr:`Claim.age`.
    :ivar attempted: when its last attempt began, seconds since the epoch; ``None``: there was none.
    """

    delivery: Delivery
    state: str
    reason: str
    age: float
    attempted: float | None


@frozen(kw_only=True)
class OverduePage:
    """One page of the deliveries that are overdue; at ``mark`` the next begins, now if there is ``more``."""

    deliveries: Sequence[Overdue]
    mark: tuple[str, int]
    more: bool


@frozen(kw_only=True)
class Selection:
    """
    Which deliveries are meant; every filter that is given must match.

    In ``sender``, ``recipient``, ``provider``, ``route``, ``lane``, ``client``, ``user``, ``message_id`` and
    ``provider_id`` a ``*`` stands for anything; capitals do not matter in any text.

    :ivar ids: message ids or ``<message>.<n>``, whole or an unambiguous beginning.
    :ivar states: of :data:`STATES`; empty is all that are not final, with ``ids`` all.
    :ivar text: a part of the sender, of a recipient, the subject or the Message-ID.
    :ivar sender: also :data:`NOBODY`.
    :ivar subject: so is ``error``: a part of it, or a pattern for all of it if there is a ``*``.
    :ivar client: the client's address.
    :ivar min_size: bytes.
    :ivar since: received at this time or later, seconds since the epoch; ``until``: before it.
    :ivar hold: held by the rule with this number.
    :ivar everything: needed for an edit without any filter, so that none happens by mistake.
    :ivar newest: the newest first, as always where a final state is asked for; else the oldest.
    :ivar limit: maximum number; for a list only.
    """

    ids: Sequence[str] = ()
    states: Sequence[str] = ()
    text: str = ""
    route: str = ""
    provider: str = ""
    lane: str = ""
    sender: str = ""
    recipient: str = ""
    subject: str = ""
    message_id: str = ""
    provider_id: str = ""
    error: str = ""
    client: str = ""
    user: str = ""
    min_size: int = 0
    since: float | None = None
    until: float | None = None
    hold: int = 0
    everything: bool = False
    newest: bool = False
    limit: int = 1000

    @property
    def narrows(self) -> bool:
        """Whether any filter is given."""
        given = asdict(self, filter=lambda each, _: each.name not in ("everything", "newest", "limit"))
        return any(value or isinstance(value, float) for value in given.values())


@frozen(kw_only=True)
class Edit:
    """
    A change by an operator, or by the relay itself; ``action`` is one of :data:`ACTIONS`.

    :ivar who: recorded with each delivery, as is ``why``.
    :ivar at: when a retry is due, seconds since the epoch; ``None`` is now.
    :ivar provider: where a reroute goes. One of the relay's own has none, as each mail may go elsewhere: it
        keeps the place of each in time, and puts none into a blocked lane.
    :ivar force: reroute also what may have arrived already.
    :ivar bounce: tell the senders of what is deleted.
    :ivar rule: the hold rule that holds or releases.
    :ivar dry_run: change nothing, only say what would be changed.
    """

    action: str
    who: str
    why: str = ""
    at: float | None = None
    provider: str = ""
    force: bool = False
    bounce: bool = False
    rule: int = 0
    dry_run: bool = False


@frozen(kw_only=True)
class RecipientState:
    """One recipient of a delivery. ``state``: ``open``, ``delivered``, ``failed`` or ``deleted``."""

    address: str
    state: str
    reason: str = ""
    provider_id: str = ""


@frozen(kw_only=True)
class AttemptRecord:
    """
    One attempt, or one change by an operator, of a delivery.

    :ivar outcome: those of its recipients, joined by ``+``; ``""``: it is under way; of a change its action.
    """

    number: int
    provider: str
    node: str
    started: float
    ended: float | None
    outcome: str
    reason: str


@frozen(kw_only=True)
class Summary:
    """
    One line of the queue.

    :ivar attempts: how often it was attempted; what an operator did does not count.
    :ivar waiting_for: why nothing happens now, in plain words: a blocked lane's reason, or ``""``.
    :ivar try_now: the command that has it go at once, if the cause is corrected.
    :ivar ended: when it became final, seconds since the epoch.
    """

    id: str
    message: str
    state: str
    sender: str
    recipients: Sequence[RecipientState]
    attempts: int
    size: int
    subject: str
    received: float
    due: float | None
    route: str
    provider: str
    lane: str
    reason: str
    waiting_for: str = ""
    try_now: str = ""
    uncertain: bool = False
    ended: float | None = None


@frozen(kw_only=True)
class Detail:
    """All that is known of a delivery. ``history`` numbers attempts from 1; what is none has the number 0."""

    summary: Summary
    client: Mapping[str, str]
    message_id: str
    history: Sequence[AttemptRecord]


@frozen
class LaneState:
    """
    One lane: how many wait in it, how many are under way, and whether it is blocked.

    :ivar ceiling: the concurrency that its provider seems to allow, perhaps below one; ``None``: as
        configured.
    :ivar resumes: when one that is suspended continues, seconds since the epoch; ``None``: no end was given.
    :ivar blocked_since: seconds since the epoch.
    :ivar lanes: in :attr:`QueueStats.lanes`, of a provider's own lane: how many lanes the provider has, with
        this one; ``blocked`` and ``throttled`` is how many of the others are.
    :ivar suspended: an operator has stopped it, until one resumes it; ``blocked_until`` is ``None``.
    :ivar state: ``ok``, ``throttled``, or why no mail goes: ``unreachable``, ``blocked`` or ``suspended``, as
        its whole provider may be, or ``removed``: the configuration has no such provider any more.
    """

    provider: str
    lane: str
    waiting: int
    active: int
    due: float | None
    blocked_until: float | None
    blocked_reason: str
    ceiling: float | None = None
    resumes: float | None = None
    blocked_since: float | None = None
    suspended: bool = False
    state: str = "ok"
    lanes: int = 0
    blocked: int = 0
    throttled: int = 0


@frozen(kw_only=True)
class Node:
    """One of the processes that share a spool; ``seen`` last then, seconds since the epoch."""

    name: str
    seen: float
    draining: bool


@frozen(kw_only=True)
class QueueStats:
    """
    What lies in the spool.

    :ivar states: deliveries by state, those of :data:`FINAL` left out.
    :ivar bytes: the size of the spool's files.
    :ivar free: free bytes of the file system it lies on, or ``None`` if that means nothing.
    :ivar oldest: when the oldest message that still waits was received; ``oldest_message`` is its id.
    :ivar lanes: of each provider its own, with what waits and is active in all its lanes together, and the
        first few of the others that are blocked or throttled.
    :ivar crash_loops: the ids of deliveries that are held because the relay died while it delivered them, the
        first few.
    :ivar unreachable: the providers that some node cannot reach.
    """

    states: Mapping[str, int]
    bytes: int
    free: int | None
    oldest: float | None
    oldest_message: str = ""
    lanes: Sequence[LaneState]
    crash_loops: Sequence[str] = ()
    unreachable: Sequence[Unreachable] = ()
