"""
What an operator may ask of the relay, and what comes back.

Searches and changes are done in steps, each with a mark where the next one begins: a queue with a
million mails is gone through without anybody waiting for it. What is asked with is in
:mod:`smtprelay.model.queue`.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from attrs import frozen

from smtprelay.model.attempt import NewMessage
from smtprelay.model.message import Delivery
from smtprelay.model.queue import Detail, DueSelection, Edit, Selection, Summary
from smtprelay.model.refusal import RefusalFilter, RefusalRow
from smtprelay.model.unreachable import Unreachable

#: One search looks at so many deliveries at most.
MOST_LOOKED_AT: Final = 100_000

#: A rule or a suspension that ends later is a slip of the hand; seconds from now.
LONGEST: Final = 100 * 365 * 86400.0


@frozen(kw_only=True)
class Found:
    """
    What a search has found.

    :ivar mark: where the next search goes on; ``""`` if there is nothing more.
    :ivar partial: it ended after :data:`MOST_LOOKED_AT` deliveries, before it had found all that were wanted.
    """

    deliveries: Sequence[Summary]
    mark: str = ""
    partial: bool = False


@frozen(kw_only=True)
class Prepared:
    """
    What a change needs for one delivery and the spool cannot know.

    :ivar refusal: why this one is left alone; ``""`` if it is not.
    :ivar provider: where a reroute goes that does not say so itself; ``lane`` belongs to it.
    :ivar bounce: accepted with the deletion, if somebody is to be told.
    """

    refusal: str = ""
    provider: str = ""
    lane: str = ""
    bounce: NewMessage | None = None


@frozen(kw_only=True)
class Edited:
    """
    One step of a change.

    :ivar count: how many deliveries were changed, or would be.
    :ivar ids: which ones.
    :ivar left: how many that match were left alone, by the reason.
    :ivar mark: where the next step begins; ``""`` after the last.
    """

    count: int
    ids: Sequence[str]
    left: Mapping[str, int]
    mark: str = ""


@frozen(kw_only=True)
class HoldRule:
    """
    What holds mail that comes in, and what waited when the rule was made, until its time is over.

    A delivery is held when all patterns match; for ``recipient`` one of its recipients is enough.

    :ivar id: given by the spool.
    :ivar sender: a pattern with ``*``, or ``""`` for any; so ``recipient``, ``provider`` and ``route``.
    :ivar made: seconds since the epoch, as ``until``.
    :ivar count: how many deliveries it holds now.
    """

    id: int = 0
    sender: str = ""
    recipient: str = ""
    provider: str = ""
    route: str = ""
    reason: str
    who: str
    made: float = 0.0
    until: float
    count: int = 0


class Prepare(Protocol):
    """Finds out what a change needs for one delivery and the spool cannot know."""

    async def __call__(self, delivery: Delivery, edit: Edit) -> Prepared:
        """Return it; ``delivery`` has the recipients that the change is about."""


class RefusedMail(Protocol):
    """What clients were refused, as a spool keeps it: bounded, the oldest out, of all its nodes."""

    async def record(self, rows: Sequence[RefusalRow]) -> None:
        """Add up ``rows`` with what is there."""

    async def refused(self, wanted: RefusalFilter) -> Sequence[RefusalRow]:
        """Return the rows that are meant, the last first."""

    async def clear(self, wanted: RefusalFilter) -> int:
        """Forget the rows that are meant; return how many."""


class Queue(Protocol):
    """
    The part of the spool that an operator sees and changes.

    :ivar refusals: what clients were refused.
    """

    refusals: RefusedMail

    async def note_reach(self, provider: str, trouble: Unreachable | None) -> bool:
        """
        Write down that this node cannot reach a provider, or reaches it again; its mail goes now.

        Returns whether no other node says that it cannot: this is the first trouble, or the end of the last.
        """

    async def edit(
        self,
        selection: Selection | DueSelection,
        edit: Edit,
        mark: str = "",
        prepare: Prepare | None = None,
    ) -> Edited:
        """
        Carry out one step of a change, in transactions of up to 200 deliveries.

        What is under way is left alone, as is what the action does not fit, and what has changed since it
        was looked at. What comes in after the first step is not meant. With ids it is all one step.

        :param mark: :attr:`Edited.mark` of the step before this one.
        :param prepare: called on the reactor for each delivery; a reroute needs it, and a bounce.
        :raises LookupError: an id names no message, or several.
        :raises ValueError: nothing is selected, there is no such action, or it fits none of the states.
        """

    async def search(self, selection: Selection, mark: str = "") -> Found:
        """
        Return deliveries that match, the oldest first; where a final state is asked for, the last first.

        It looks at :data:`smtprelay.model.queue_admin.MOST_LOOKED_AT` at most, in small steps.

        :param mark: :attr:`Found.mark` of the search that is to be continued.
        :raises LookupError: an id names no message, or several.
        :raises ValueError: the mark is none of ours.
        """

    async def list(self, selection: Selection) -> Sequence[Summary]:
        """Return what :meth:`search` finds at first."""

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

    async def show(self, message: str) -> Sequence[Detail]:
        """
        Return all deliveries of the message whose id begins with ``message``.

        Raises ``LookupError``, with a sentence for people, if none or several do.
        """


class Operator(Prepare, Protocol):
    """
    What an operator may do beside changing the queue.

    Each of its methods raises ``LookupError`` for a provider or lane that is not there, and ``ValueError``
    with a sentence for people if it cannot be done.
    """

    def check(self, provider: str) -> None:
        """Raise if mail cannot be rerouted to ``provider``, whether or not there is mail to reroute."""

    async def probe(self, provider: str, lane: str, who: str, *, force: bool = False) -> None:
        """Try what is blocked or unreachable now; what asked us to wait only if it is forced."""

    async def suspend(self, provider: str, who: str, why: str, lasting: float | None = None) -> None:
        """
        Send nothing to ``provider`` until it is resumed; its mail goes on elsewhere or waits.

        :param lasting: after so many seconds it goes on by itself.
        """

    async def resume(self, provider: str, who: str) -> None:
        """Let a provider that was suspended run again."""

    def holds_changed(self) -> None:
        """Have the rules that hold mail carried out, soon."""
