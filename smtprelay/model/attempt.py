"""One attempt: what was claimed, and how it is settled; and permits, for requests of nothing stored."""

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from smtprelay.model.message import Delivery, Draft, Planned
from smtprelay.model.outcome import Outcome, Results


@frozen(kw_only=True)
class Claim:
    """
    The durable record that an attempt of one delivery begins.

    :ivar attempt: unique within the delivery; with ``node`` it fences :meth:`WorkQueue.settle`.
    :ivar tries: attempts that ended ``Deferred`` before this one, on this provider.
    :ivar deferrals: those that count against :attr:`Schedule.attempts`, on all providers together.
    :ivar age: seconds since the message was received, less the time its lane was blocked.
    :ivar uncertain: the attempt before this one has no outcome: resolve before sending.
    :ivar errors: attempts in a row that ended in an unexpected exception.
    :ivar edits: numbers of :attr:`attempt` that were none, but changes of an operator or the relay.
    :ivar body: the whole body if it fits one chunk and was at hand; else ``None``.
    """

    delivery: Delivery
    node: str
    attempt: int
    tries: int = 0
    deferrals: int = 0
    age: float = 0.0
    uncertain: bool = False
    errors: int = 0
    edits: int = 0
    body: bytes | None = field(default=None, repr=False)

    @property
    def times(self) -> int:
        """How many attempts there were, with this one."""
        return self.attempt - self.edits


@frozen(kw_only=True)
class ClaimBatch:
    """
    What :meth:`smtprelay.interfaces.spool.WorkQueue.claim` found.

    :ivar claims: to be attempted now, by us.
    :ivar probes: (provider, lane) that are blocked and whose time to be tried has come.
    :ivar stopped: (provider, lane) that are blocked while mail in them is due: it may be rerouted.
    :ivar suspended: (provider, lane) that an operator has suspended.
    :ivar waiting: something is due and waits for a slot: ask again when an attempt has ended.
    :ivar due: when something may be claimed or probed next, seconds since the epoch;
        ``None`` if nothing waits for a time (a settle or an accept will tell).
    """

    claims: Sequence[Claim] = ()
    probes: Sequence[tuple[str, str]] = ()
    stopped: Sequence[tuple[str, str]] = ()
    suspended: Sequence[tuple[str, str]] = ()
    waiting: bool = False
    due: float | None = None


@frozen(kw_only=True)
class NewMessage:
    """
    A message of our own making that is accepted in the transaction of a settlement.

    :ivar kind: what it reports: ``"failure"`` (perhaps with others), ``"success"`` or ``"delay"``.
    :ivar subject: what the queue shows; ``""`` is what its header says.
    """

    draft: Draft
    body: bytes = field(repr=False)
    planned: Sequence[Planned]
    kind: str = "failure"
    subject: str = ""


@frozen(kw_only=True)
class Block:
    """
    A lane that is stopped because its credentials, permission, account or host fail.

    :ivar until: when it shall be probed, seconds since the epoch.
    :ivar reason: in the provider's words; ``""`` opens the lane.
    :ivar trial: when opening: let one delivery through first, to see whether the lane works.
    :ivar operator: by an operator's hand: only so a lane is suspended, or opened that was.
    :ivar duration: when suspending: for how many seconds; ``None``: until an operator resumes it.
    """

    provider: str
    lane: str = ""
    until: float = 0.0
    reason: str = ""
    trial: bool = False
    operator: bool = False
    duration: float | None = None


@frozen(kw_only=True)
class Settlement:
    """
    What an attempt changes, all in one transaction.

    :ivar state: the delivery's new state, never ``active``.
    :ivar outcomes: recorded with the attempt, for each recipient that was open.
    :ivar closed: recipients that are at their end now: ``"delivered"`` or ``"failed"``.
    :ivar reason: the last error in one line, ``""`` after a success.
    :ivar due: when the open recipients go again, for ``queued`` and ``deferred``.
    :ivar provider: the provider that is asked next; ``""`` keeps it. ``lane`` belongs to it.
    :ivar tries: :attr:`Claim.tries` of the attempt that comes next; the same for ``errors``.
    :ivar counts: this attempt is one of the :attr:`Claim.deferrals`.
    :ivar uncertain: the next attempt must resolve this one first.
    :ivar split: those of the recipients that stay open that go on in a new delivery of the same message, in
        the same state and lane and at the same time; both are new operations to the provider. Ignored unless
        the delivery is ``queued`` or ``deferred`` and keeps some of its recipients.
    :ivar block: a lane to stop.
    :ivar bounce: a report to the sender, to be accepted.
    :ivar event: a message for the webhook, to be accepted.
    """

    state: str
    outcomes: Results
    closed: Mapping[str, str] = field(factory=dict)
    reason: str = ""
    due: float | None = None
    provider: str = ""
    lane: str = ""
    tries: int = 0
    errors: int = 0
    counts: bool = False
    uncertain: bool = False
    split: Sequence[str] = ()
    block: Block | None = None
    bounce: NewMessage | None = None
    event: NewMessage | None = None


@frozen(kw_only=True)
class Permit:
    """A slot of a lane, with a token of each window, for a synchronous request."""

    name: str
    provider: str
    lane: str
    node: str


@frozen(kw_only=True)
class Busy:
    """
    Why no permit was given.

    :ivar reason: the lane is blocked, and why; ``""``: it has no free slot, or goes too fast already.
    :ivar until: when it may be different, seconds since the epoch; ``None``: when a slot is given back.
    """

    reason: str = ""
    until: float | None = None


@frozen(kw_only=True)
class Feedback:
    """The outcomes of a request, one for each recipient, and the lane to stop if they say so."""

    outcomes: Sequence[Outcome] = ()
    block: Block | None = None
