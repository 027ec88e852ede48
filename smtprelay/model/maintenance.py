"""
What maintenance tells of a spool: the room that it takes, and whether it is sound. Pure.
"""

from collections.abc import Sequence

from attrs import frozen


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
