"""
Permits for synchronous requests, taken from the lanes of the queue. Pure.
"""

from collections.abc import Sequence

from attrs import frozen

from smtprelay.model.attempt import Block
from smtprelay.model.outcome import Outcome


@frozen(kw_only=True)
class Permit:
    """A slot of a lane, with a token of each window, for a request that no stored delivery makes."""

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
