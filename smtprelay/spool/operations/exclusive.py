"""
While a suspect is attempted, no other attempt starts on this node.

Each node keeps it in memory, so it may be out of date, as when a transaction is rolled back; so it ends by
itself, and each claim sets it anew. Pure.
"""

import math

from attrs import define


@define
class ExclusiveAttempt:
    """
    Whether something else may begin.

    :ivar delivery: the id of the suspect that is attempted; ``""``: one is about to be.
    :ivar until: when it ends at the latest, seconds since the epoch.
    :ivar suspects: there may be some in the spool: :mod:`smtprelay.spool.operations.suspects`.
    """

    delivery: str = ""
    until: float = -math.inf
    suspects: bool = True

    def begin(self, delivery: str, until: float) -> None:
        """Let nothing else begin before ``until``."""
        self.delivery, self.until = delivery, until

    def end(self) -> None:
        """Let everything begin."""
        self.begin("", -math.inf)

    def end_for(self, delivery: str) -> None:
        """End it if ``delivery`` was the one: its attempt has ended, or its provider has the body."""
        if delivery == self.delivery:
            self.end()

    def blocks(self, now: float) -> bool:
        """Tell whether nothing else may begin now."""
        return now < self.until
