"""
What comes back from a search, a change or a check of the queue; what is asked with is in
:mod:`smtprelay.model.queue`.

Searches and changes are done in steps, each with a mark where the next one begins, so that no mail waits
behind them.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from smtprelay.model.attempt import NewMessage
from smtprelay.model.queue import Summary

#: Maximum number of deliveries that one search examines.
MOST_SEARCHED: Final = 100_000

#: A rule or a suspension that ends later is refused as a mistake; seconds from now.
LONGEST: Final = 100 * 365 * 86400.0


@frozen(kw_only=True)
class Found:
    """
    What a search has found; at ``mark`` the next one continues, if it is not ``""``.

    :ivar partial: it ended after :data:`MOST_SEARCHED` deliveries, before it had found all that were wanted.
    """

    deliveries: Sequence[Summary]
    mark: str = ""
    partial: bool = False


@frozen(kw_only=True)
class Prepared:
    """
    What a change needs for one delivery and the spool cannot know.

    :ivar refusal: why this one is left unchanged; ``""`` if it is not.
    :ivar provider: where a reroute goes that does not say so itself; ``lane`` belongs to it.
    :ivar bounce: accepted with the deletion, if somebody is to be notified.
    """

    refusal: str = ""
    provider: str = ""
    lane: str = ""
    bounce: NewMessage | None = None


#: Why a delivery is left unchanged that an attempt, or somebody else, was changing.
CHANGED: Final = "changed meanwhile"


@frozen(kw_only=True)
class Edited:
    """
    One step of a change: ``count`` deliveries, those of ``ids``, were changed, or would be.

    :ivar left: how many that match were left unchanged, by the reason.
    :ivar mark: where the next step begins; ``""`` after the last.
    """

    count: int
    ids: Sequence[str]
    left: Mapping[str, int]
    mark: str = ""


@frozen(kw_only=True)
class HoldRule:
    """
    What holds mail that comes in, and what waited when the rule was made, until it ends.

    A delivery is held when all patterns match; for ``recipient`` one of its recipients is enough.

    :ivar id: given by the spool.
    :ivar sender: a pattern with ``*``, or ``""`` for any; the same for ``recipient``, ``provider``,
        ``route``.
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


@frozen(kw_only=True)
class Space:
    """
    The room that a spool takes.

    :ivar used: bytes that hold something; ``None`` where the database does not tell, or reuses by itself
        what was given up.
    :ivar spare: bytes of its files that hold nothing any more and can be given back.
    """

    used: int | None = None
    spare: int = 0


@frozen(kw_only=True)
class Checked:
    """
    What a check of a spool has found.

    :ivar findings: a sentence for each thing that does not agree; none for a sound spool.
    :ivar bytes: of all bodies.
    """

    findings: Sequence[str]
    messages: int
    deliveries: int
    bytes: int
