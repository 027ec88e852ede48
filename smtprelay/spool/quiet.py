"""
When nothing else begins on a node: a delivery is tried alone there, or is about to be.

Each node knows it of itself. What it knows may be late, as when a transaction is rolled back; so it ends by
itself, and each claim looks anew. Pure.
"""

import math

from attrs import define


@define
class Quiet:
    """
    Whether something may begin.

    :ivar alone: the id of the delivery that is under way alone; ``""``: one is about to be.
    :ivar until: when it ends at the latest, seconds since the epoch.
    """

    alone: str = ""
    until: float = -math.inf

    def begin(self, alone: str, until: float) -> None:
        """Let nothing begin until then."""
        self.alone, self.until = alone, until

    def end(self) -> None:
        """Let everything begin."""
        self.begin("", -math.inf)

    def is_over(self, delivery: str) -> None:
        """End it if ``delivery`` was the one alone: it has ended, or its provider has the body."""
        if delivery == self.alone:
            self.end()

    def holds(self, now: float) -> bool:
        """Tell whether nothing may begin now."""
        return now < self.until
