"""
The connections that other processes have at the same listener.

Several processes may accept from one socket, and a client's connections end up at any of them. A limit is
one of all of them together.
"""

from typing import Protocol


class OtherProcesses(Protocol):
    """What others have, and how they hear of what we have."""

    def count(self, address: str) -> int:
        """Return how many connections others have from ``address``; ``""``: from everywhere."""

    def note(self, address: str, change: int) -> None:
        """Tell them of one more connection from ``address``, 1, or of one less, -1."""


class Nowhere(OtherProcesses):
    """There is no other process."""

    def count(self, _address: str) -> int:
        """Return none."""
        return 0

    def note(self, _address: str, _change: int) -> None:
        """Tell nobody."""
