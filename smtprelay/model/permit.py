"""
The right to ask a provider, borrowed from the lanes of the queue. Pure.
"""

from collections.abc import Sequence

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
