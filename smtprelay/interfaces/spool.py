"""
The spool's protocols, one for each kind of caller.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from smtprelay.interfaces.mail import Body, Incoming, Plan
from smtprelay.interfaces.operator import Prepare, RefusedMail
from smtprelay.model.archive import ArchiveItem, ArchivePage
from smtprelay.model.attempt import Block, Claim, ClaimBatch, NewMessage, Settlement
from smtprelay.model.maintenance import Checked, Space
from smtprelay.model.message import Delivery, Draft, Planned, Reply
from smtprelay.model.operator_settings import AppliedSettings, OperatorSettings
from smtprelay.model.permit import Busy, Feedback, Permit
from smtprelay.model.queue import Detail, DueSelection, Edit, Node, OverduePage, QueueStats, Selection
from smtprelay.model.queue_admin import Edited, Found, HoldRule
from smtprelay.model.unreachable import Unreachable


class StoredMessage(Body, Protocol):
    """The body of a message that lies in the spool; ``message`` is its id."""

    message: str


class QueueAccess(Protocol):
    """
    What both who delivers from the queue and who looks after it may ask.

    Here and in all parts of a :class:`Spool` a coroutine returns after its change is committed and synced;
    several changes share one commit.

    :ivar clock: whose time the times in it are, with the timers of the reactor; ``None``: this machine's.
    """

    clock: Any

    def body(self, delivery: Delivery) -> Body:
        """Return the stored body of a delivery. Reading it raises ``LookupError`` if it is gone."""

    async def block(self, block: Block) -> None:
        """Stop a lane until ``block.until``, or, with ``reason`` empty, open it again."""


class WorkQueue(QueueAccess, Protocol):
    """
    The mail's way through the spool, from its receipt to the end of each delivery.

    Two commits carry a message through: accept-or-claim and settle.
    """

    def refusal(self, size: int = 0) -> Reply | None:
        """
        Return why a message of ``size`` bytes cannot be taken now; ``None``: there is room. It costs nothing.

        What we write ourselves (a bounce) is not asked about.
        """

    def incoming(self, draft: Draft, plan: Plan, ended: Settlement | None = None) -> Incoming:
        """
        Return where the body of ``draft`` goes; its ``finish`` accepts the message.

        :param ended: how an attempt ended that was made outside of the spool, of the one delivery that is
            planned: recorded in the same transaction.
        """

    async def accept(self, draft: Draft, body: bytes, planned: Sequence[Planned]) -> None:
        """Take a whole message of our own making (a bounce, a test mail)."""

    def listen(self, take: Callable[[Sequence[Claim]], None] | None) -> None:
        """
        Have ``take`` called, on the reactor, after each accept; ``None``: nobody listens any more.

        It gets the claims that the accept took in its own transaction; none if the message is queued, which
        is a reason to ask :meth:`claim`. While nobody listens nothing is claimed at accept.
        """

    async def claim(self, limit: int = 50) -> ClaimBatch:
        """
        Take what may go now: one delivery from each ready lane in turn.

        The intent of each attempt is durable when this returns. A lane is ready when something in it is due,
        it is not blocked, and it and its provider have a free slot and a token for the rate.
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

        Left out is what :meth:`notify` has told of, what has no sender, and reports. The cost does not grow
        with the queue.
        """

    async def notify(self, delivery: Delivery, notice: NewMessage) -> bool:
        """
        Accept ``notice``, the only one of its kind for ``delivery``.

        ``False``, and nothing was accepted, if it has come to its end meanwhile or somebody was faster.
        """

    async def recover(self) -> int:
        """
        Put back what this node held when it died; return how many deliveries.

        Each becomes ``queued`` and ``uncertain``, and due at once. It may be why the node died: it goes after
        the rest, when nothing else of its node is under way, and is held when the node dies again while it
        is alone.
        """

    async def release(self) -> int:
        """
        Put back what this node holds, because it stops; return how many deliveries.

        Each becomes ``queued`` and ``uncertain``, and due at once: nobody waits for its lease to end.
        """

    async def clock_stepped(self, seconds: float) -> None:
        """
        Put right what was written before our clock was put forward by ``seconds``; negative is back.

        No mail is older for it, and what waits still goes when it would have gone.
        """


class QueueAdmin(QueueAccess, Protocol):
    """
    What an operator, and the relay on its own account, sees and changes in the queue.

    A message is named by the beginning of its id, perhaps with ``.n``; where that names none, or several,
    a method raises ``LookupError`` with a sentence for people.
    """

    async def stock(self) -> QueueStats:
        """Count what lies in the spool, at a cost that does not grow with it."""

    async def search(self, selection: Selection, mark: str = "") -> Found:
        """
        Return deliveries that match, the oldest first; where a final state is asked for, the last first.

        It looks at :data:`smtprelay.model.queue_admin.MOST_LOOKED_AT` at most, in small steps.

        :param mark: :attr:`Found.mark` of the search that is continued.
        :raises ValueError: the mark is none of ours.
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

        What is under way is left alone, as is what the action does not fit, and what has changed since it
        was looked at. What comes in after the first step is not meant. With ids it is all one step.

        :param mark: :attr:`Edited.mark` of the step before this one.
        :param prepare: called on the reactor for each delivery; a reroute needs it, and a bounce.
        :raises ValueError: nothing is selected, there is no such action, or it fits none of the states.
        """

    async def hold(self, rule: HoldRule) -> HoldRule:
        """Hold by ``rule`` what comes in from now on, not yet what waits; return it with its id."""

    async def unhold(self, number: int, who: str) -> HoldRule:
        """End a rule; what it held is released later. Raises ``LookupError`` if there is none."""

    async def holds(self) -> Sequence[HoldRule]:
        """Return the rules, with what each holds; one whose time is over is gone when it holds nothing."""

    async def apply_hold_rules(self) -> float | None:
        """
        Do one step of what the rules ask for: hold what waited, release what a rule held that has ended.

        Returns when to do the next, seconds since the epoch; ``None`` if there is none.
        """

    async def note_reach(self, provider: str, trouble: Unreachable | None) -> bool:
        """
        Write down that this node cannot reach a provider, or reaches it again; its mail goes now.

        Returns whether no other node says that it cannot: this is the first trouble, or the end of the last.
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

        Without states and ids in the selection these are the ones that wait. An attempt that is under way is
        told as one whose outcome nobody knows. With ``moving`` a message with such an attempt is left
        out, and of the others everything that waits is held from now on. ``who`` is for the log.

        Raises ``LookupError`` for an id that names no message, or several.
        """

    async def piece(self, message: str, n: int) -> bytes | None:
        """Return the n-th piece of a body, from 1, at most 256 KiB; ``None`` behind the last."""

    async def exported(
        self, messages: Sequence[str], who: str, attempts: Mapping[str, int] | None = None
    ) -> Sequence[str]:
        """
        Drop ``messages``, which are safe elsewhere; return those that are dropped.

        One that has been released meanwhile stays. With ``attempts``, the exported number of each delivery's
        last one by its id, so does one that has ended since: what was exported of it is not true any more.
        """

    async def orders(self) -> OperatorSettings:
        """Return what an operator has ordered."""

    async def apply_settings(self, given: OperatorSettings, who: str) -> AppliedSettings:
        """
        Put in force what comes from another spool; what is in force already stays as it is.

        Raises ``ValueError`` for what cannot be meant; nothing is in force then.
        """

    async def put(self, items: Sequence[ArchiveItem], who: str) -> Sequence[bool | Exception]:
        """
        Take messages in: ``True``, ``False`` for one that is here already, or what prevents it, for each.

        A body that is not with it has come by :meth:`put_piece`, all of it.
        """

    async def put_piece(self, message: str, n: int, content: bytes) -> bool:
        """Take the n-th piece of a body in; ``False`` if there is such a message already."""


class Maintenance(Protocol):
    """
    What keeps a spool sound, small and open for mail.

    None of it holds up a mail: it goes in small steps, each of which is over before anybody notices.
    """

    @property
    def complaint(self) -> str:
        """Why no mail is taken, as of the last :meth:`check_health`: it is full, a write fails or hangs."""

    async def check_health(self) -> None:
        """
        See how much room there is, and whether what failed works again. It never raises.

        To be called about once a second; :meth:`WorkQueue.refusal`, too, is as old as the last call.
        """

    async def reclaim(self) -> int:
        """
        Put back what other nodes held when they died or froze; return how many deliveries.

        Their leases have run out. Each delivery becomes what :meth:`WorkQueue.recover` makes of it.
        """

    async def sweep(self, before: float, limit: int = 200) -> int:
        """Drop up to ``limit`` messages that were finished before ``before``; return how many."""

    async def sweep_bodies(self, before: float, limit: int = 200) -> int:
        """
        Drop the bodies of up to ``limit`` messages that were delivered before ``before``.

        Returns how many messages were looked at, 0 when none is left. That of a failed message stays.
        """

    async def space(self) -> Space:
        """Tell how much room the spool takes, at a cost that does not grow with it."""

    async def shrink(self, spare: int) -> int:
        """
        Give back a little of what is free beyond ``spare`` bytes; return how many bytes are left to give.

        It keeps the writer for some 20 ms, and for the commit.
        """

    async def check(self, *, deep: bool = False) -> Checked:
        """
        Count everything anew and compare, in one read transaction; mail goes on meanwhile.

        ``deep`` reads each page of the spool's file, too, where it is a file.
        """

    async def recount(self) -> int:
        """Put right what the lanes count; return how many lanes counted wrongly, or were due too early."""


class Permits(Protocol):
    """
    The right to ask a provider, for deliveries that are not in the spool: those of synchronous listeners.

    They are of one load with those that are: slots, rate and blocks of the lanes count for both.
    """

    async def borrow(self, name: str, provider: str, lane: str) -> Permit | Busy:
        """
        Take a slot of a lane, and a token of each window, for a request that the spool does not make.

        It is counted with the spool's own until it is given back, at the latest after ten minutes.
        """

    async def give_back(self, permit: Permit, feedback: Feedback | None = None) -> None:
        """
        Release the slot of ``permit``, and learn from what came of it; stop the lane if that says so.

        Without feedback the provider has the body, and the outcome comes later.
        """

    def when_room(self, ask: Callable[[], None]) -> None:
        """Have ``ask`` called, on the reactor, when a slot may have become free, or a lane was opened."""


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
