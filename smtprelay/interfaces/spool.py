"""
The spool's protocols, one for each kind of caller.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from smtprelay.interfaces import Body, Incoming, Planner, Prepare, RefusedMail
from smtprelay.model.archive import ArchiveItem, ArchivePage
from smtprelay.model.attempt import Block, Busy, Claim, ClaimBatch, Feedback, NewMessage, Permit, Settlement
from smtprelay.model.message import Delivery, Draft, Planned, Reply, SessionLogin
from smtprelay.model.operator_settings import AppliedSettings, OperatorSettings
from smtprelay.model.queue import (
    Detail,
    DueSelection,
    Edit,
    LaneState,
    Node,
    OverduePage,
    QueueStats,
    Selection,
    Unreachable,
)
from smtprelay.model.queue_admin import Checked, Edited, Found, HoldRule, Space
from smtprelay.model.rate_limit import LEAST, Load
from smtprelay.model.route import RateLimit, Window


class StoredMessage(Body, Protocol):
    """The body of a message that lies in the spool; ``message`` is its id."""

    message: str


class LoginMissingError(LookupError):
    """The login that a mail is sent with cannot be had; the text says to people why, and what to do."""


class QueueAccess(Protocol):
    """
    Shared by WorkQueue and QueueAdmin.

    Here and in all parts of a :class:`Spool` a coroutine returns after its change is committed and synced;
    several changes share one commit.

    :ivar clock: whose time the times in it are, with the timers of the reactor; ``None``: this machine's.
    """

    clock: Any

    def body(self, delivery: Delivery) -> Body:
        """Return the stored body of a delivery. Reading it raises ``LookupError`` if it is gone."""

    async def login(self, delivery: Delivery) -> SessionLogin:
        """Return the login of the client that sent a delivery; raises :class:`LoginMissingError`."""

    async def block(self, block: Block) -> None:
        """Stop a lane until ``block.until``, or, with ``reason`` empty, open it again."""


class WorkQueue(QueueAccess, Protocol):
    """
    The mail's way through the spool, from its receipt to the end of each delivery.

    Two commits carry a message through: accept-or-claim and settle.
    """

    def refusal(self, size: int = 0) -> Reply | None:
        """Return why a message of ``size`` bytes cannot be taken now, at no cost; ``None``: it can."""

    def incoming(self, draft: Draft, plan: Planner, ended: Settlement | None = None) -> Incoming:
        """
        Return where the body of ``draft`` goes; its ``finish`` accepts the message.

        :param ended: how an attempt at the only planned delivery has ended already; recorded with it.
        """

    async def accept(self, draft: Draft, body: bytes, planned: Sequence[Planned]) -> None:
        """Take a message of our own making (a bounce, a test mail), even if there is no room."""

    def listen(self, take: Callable[[Sequence[Claim]], None] | None) -> None:
        """
        Have ``take`` called, on the reactor, after each accept; ``None``: no more.

        It gets the claims that the accept took in its own transaction; none if the message is queued, which
        is a reason to ask :meth:`claim`. Without a listener nothing is claimed at accept.
        """

    async def claim(self, limit: int = 50) -> ClaimBatch:
        """
        Take what may go now: one delivery from each ready lane in turn.

        The intent of each attempt is durable then. A lane is ready when something in it is due, it is not
        blocked, and it and its provider have a free slot and a token for the rate.
        """

    async def release_slot(self, claim: Claim) -> None:
        """Let another attempt begin: the provider has the body of this one, its outcome comes later."""

    async def renew(self, claims: Sequence[Claim]) -> None:
        """Keep the leases of ``claims`` from running out."""

    async def settle(self, claim: Claim, settlement: Settlement) -> bool:
        """
        Record what became of an attempt, once.

        ``False``, and nothing was changed, if the claim is not ours any more: its lease ran out, or an
        operator deleted the message.
        """

    async def overdue(self, before: float, mark: tuple[str, int] = ("", 0), limit: int = 200) -> OverduePage:
        """
        Return a page of what is alive and was received until ``before``: the oldest after ``mark``.

        Without those that :meth:`notify` reported, that have no sender, or that are reports.
        """

    async def notify(self, delivery: Delivery, notice: NewMessage) -> bool:
        """Accept ``notice`` unless the delivery has ended or has had one; tell whether it was accepted."""

    async def recover(self) -> int:
        """
        Put back what this node held when it died; return how many deliveries.

        Each becomes ``queued`` and ``uncertain``, and due at once. It may be why the node died: it goes after
        the rest, with no other attempt on its node, and is held if the node dies again meanwhile.
        """

    async def release(self) -> int:
        """Put back what this node holds, because it stops: uncertain, due at once; return how many."""

    async def change_rate(self, provider: str, windows: tuple[Window, ...]) -> None:
        """Let this node ask ``provider`` at another rate from now on; what went already counts."""

    async def reconfigure(self, rate_limits: Mapping[str, RateLimit]) -> None:
        """
        Let this node ask these providers from now on, and no others; what went already counts.

        Blocked lanes are probed soon, for the new configuration may open them.
        """

    async def clock_stepped(self, seconds: float) -> None:
        """Shift stored times by ``seconds``: the system clock was changed; negative means back."""


class QueueAdmin(QueueAccess, Protocol):
    """
    What an operator, and the relay on its own account, sees and changes in the queue.

    A message is named by the beginning of its id, perhaps with ``.n``; where that names none, or several,
    ``LookupError`` is raised, with a sentence for people.
    """

    async def stats(self) -> QueueStats:
        """Count what lies in the spool, at a cost that does not grow with it."""

    async def lanes(self, provider: str = "") -> Sequence[LaneState]:
        """Return all lanes, or those of one provider, each with its own counts."""

    async def search(self, selection: Selection, mark: str = "") -> Found:
        """
        Return deliveries that match, the oldest first; where a final state is asked for, the last first.

        ``mark`` is that of the search that is continued; ``ValueError`` if it is none of ours.
        """

    async def show(self, message: str) -> Sequence[Detail]:
        """Return all deliveries of a message."""

    async def content(self, message: str) -> StoredMessage:
        """Return the stored body of a message; ``LookupError``, too, if it was deleted."""

    async def edit(
        self, selection: Selection | DueSelection, edit: Edit, mark: str = "", prepare: Prepare | None = None
    ) -> Edited:
        """
        Carry out one step of a change, in transactions of up to 200 deliveries.

        Left unchanged is what is under way, what the action does not fit, and what has changed since it was
        looked at. What comes in after the first step is not meant. With ids it is all one step.

        :param mark: that of the step before this one.
        :param prepare: called on the reactor for each delivery; a reroute needs it, and a bounce.
        :raises ValueError: nothing is selected, there is no such action, or it fits none of the states.
        """

    async def hold(self, rule: HoldRule) -> HoldRule:
        """Hold by ``rule`` what comes in from now on, not yet what waits; return it with its id."""

    async def unhold(self, number: int, who: str) -> HoldRule:
        """End a rule; what it held is released later. Raises ``LookupError`` if there is none."""

    async def hold_rules(self) -> Sequence[HoldRule]:
        """Return the rules, with what each holds; one that has ended is gone when it holds nothing."""

    async def apply_hold_rules(self) -> float | None:
        """
        Do one step of what the rules ask for: hold what waited, release what a rule held that has ended.

        Returns when to do the next, seconds since the epoch; ``None``: never.
        """

    async def note_reachability(self, provider: str, trouble: Unreachable | None) -> bool:
        """
        Record that this node cannot reach a provider, or reaches it again; then its mail is due.

        Returns whether this is the first trouble of all nodes, or the end of the last.
        """

    async def nodes(self) -> Sequence[Node]:
        """Return the nodes that share this spool; none if it belongs to one process."""

    async def set_draining(self, draining: bool) -> None:
        """Tell the other nodes of this spool, if there are any, whether this one takes new work."""


class Archive(Protocol):
    """Export and import of one spool, in portions."""

    async def export(
        self, selection: Selection, mark: str = "", *, moving: bool = False, who: str = ""
    ) -> ArchivePage:
        """
        Return the next messages of which a delivery matches, by id, each whole.

        Without states and ids these are the ones that wait. An attempt that is under way is exported as
        uncertain. With ``moving`` a message with such an attempt is left out, and of the others everything
        that waits is held from now on. ``LookupError``: an id names none, or several.
        """

    async def piece(self, message: str, n: int) -> bytes | None:
        """Return the n-th piece of a body, from 1, at most 256 KiB; ``None`` behind the last."""

    async def exported(
        self, messages: Sequence[str], who: str, attempts: Mapping[str, int] | None = None
    ) -> Sequence[str]:
        """
        Drop ``messages``, which are safe elsewhere; return those that are dropped.

        One that was released meanwhile stays; so does, with the exported numbers of ``attempts`` by delivery,
        one that has ended since: what was exported of it is not true any more.
        """

    async def settings(self) -> OperatorSettings:
        """Return the operator settings: hold rules and suspended providers."""

    async def apply_settings(self, given: OperatorSettings, who: str) -> AppliedSettings:
        """Put in force what comes from another spool, beside what is; all of it, or ``ValueError``."""

    async def put(self, items: Sequence[ArchiveItem], who: str) -> Sequence[bool | Exception]:
        """
        Take messages in: ``True``, ``False`` for one that is here already, or what prevents it, for each.

        A body that is not with it has come whole by :meth:`put_piece`.
        """

    async def put_piece(self, message: str, n: int, content: bytes) -> bool:
        """Take the n-th piece of a body in; ``False`` if there is such a message already."""


class Maintenance(Protocol):
    """
    Checks health, reclaims leases, shrinks the files.

    It works in small steps, so that it does not delay delivery.
    """

    @property
    def complaint(self) -> str:
        """Why no mail is taken, as of the last :meth:`check_health`: it is full, a write fails or hangs."""

    async def check_health(self) -> None:
        """Measure the room and try what failed; to be called about once a second. It never raises."""

    async def reclaim(self) -> int:
        """Do as :meth:`WorkQueue.recover` with what other nodes hold whose leases have run out."""

    async def sweep(self, before: float, limit: int = 200) -> int:
        """Drop up to ``limit`` messages that were finished before ``before``; return how many."""

    async def sweep_bodies(self, before: float, limit: int = 200) -> int:
        """Drop the bodies of up to ``limit`` messages delivered before ``before``; 0: none is left."""

    async def space(self) -> Space:
        """Tell how much room the spool takes, at a cost that does not grow with it."""

    async def shrink(self, spare: int) -> int:
        """Give back some bytes beyond ``spare``, for some 20 ms; return how many are left to give."""

    async def check(self, *, deep: bool = False) -> Checked:
        """Count everything anew and compare, beside the mail; ``deep`` reads each page of the file, too."""

    async def recount(self) -> int:
        """Put right what the lanes count; return how many lanes counted wrongly, or were due too early."""


class Permits(Protocol):
    """
    The right to ask a provider, for deliveries that are not in the spool: those of synchronous listeners.

    They are of one load with those that are: slots, rate and blocks of the lanes count for both.
    """

    async def acquire(self, name: str, provider: str, lane: str, load: Load = LEAST) -> Permit | Busy:
        """
        Take a slot of a lane, and ``load`` of each rate, for a request that the spool does not make.

        It counts until it is given back, at the latest after ten minutes.
        """

    async def give_back(self, permit: Permit, feedback: Feedback | None = None) -> None:
        """
        Release the slot of ``permit``, and learn from what came of it; stop the lane if that says so.

        Without feedback the provider has the body, and the outcome comes later.
        """

    async def room(self) -> None:
        """Wait until a slot may have become free, or a lane was opened."""


class Spool(WorkQueue, Protocol):
    """
    An open spool, whole, for who assembles the relay: each other caller gets the part that it needs.

    :ivar refusals: what clients were refused.
    """

    admin: QueueAdmin
    archive: Archive
    maintenance: Maintenance
    permits: Permits
    refusals: RefusedMail

    async def close(self) -> None:
        """Finish what is waiting to be committed and let go of the files."""
