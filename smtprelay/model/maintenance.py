"""
What is done to a spool so that it stays sound and small, as the rest of the relay sees it.

None of it is on a mail's way, and none of it may hold one up: whoever does it goes in
small steps, each of which is over before anybody notices.
"""

from collections.abc import Sequence
from typing import Protocol

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


class Maintenance(Protocol):
    """The upkeep of one spool; each coroutine that changes something returns when that is committed."""

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
