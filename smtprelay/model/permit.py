"""
A right to ask a provider that is borrowed from the lanes of the queue.

Deliveries of synchronous listeners are not in the spool, but they are of one load with those that are:
so slots, pace and breaker are the spool's to give, to both.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import frozen

from smtprelay.model.attempt import Block
from smtprelay.model.outcome import Outcome


@frozen(kw_only=True)
class Permit:
    """
    A slot of a lane, with a token of each window, for a request that no delivery in the spool makes.

    :ivar name: of the request; unique.
    """

    name: str
    provider: str
    lane: str
    node: str


@frozen(kw_only=True)
class Busy:
    """
    Why nothing was lent.

    :ivar reason: the lane is blocked, and why; ``""``: it has no free slot, or goes too fast already.
    :ivar until: when it may be different, seconds since the epoch; ``None``: when a slot is given back.
    """

    reason: str = ""
    until: float | None = None


@frozen(kw_only=True)
class Feedback:
    """
    What a request showed of its lane.

    :ivar outcomes: one for each recipient.
    :ivar block: the lane to stop, if they say so.
    """

    outcomes: Sequence[Outcome] = ()
    block: Block | None = None


class Permits(Protocol):
    """What :class:`smtprelay.interfaces.Spool` does for those who do not queue."""

    async def borrow(self, name: str, provider: str, lane: str) -> Permit | Busy:
        """
        Take a slot of a lane, and a token of each window, for a request that the spool does not make.

        It is counted with the spool's own until it is given back, at the latest after ten minutes.
        """

    async def give_back(self, permit: Permit, feedback: Feedback | None = None) -> None:
        """
        Release the slot of ``permit``, and learn from what came of it.

        Without a lesson the provider has the body, and the outcome comes later.
        """

    def when_room(self, ask: Callable[[], None]) -> None:
        """Have ``ask`` called, on the reactor, when a slot may have become free, or a lane was opened."""
