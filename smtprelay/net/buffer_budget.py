"""
One budget for the memory of all messages that are being received.

Each message may hold a little before it goes to the disk, and a thousand sessions that each
hold a little are much. Whoever holds content of a message says so here; when all is taken a new
message is asked to come later, and those on their way go to the disk sooner. Nobody ever waits for
another's share, so that no two can wait for each other. Pure.
"""

from typing import Final

from smtprelay.model.message import Reply

#: Bytes, for a whole relay, of which each process has its share: enough for five hundred messages of a chunk
#: each.
MOST: Final = 128 << 20

#: RFC 3463: X.3.1, and the client keeps the message.
_TAKEN: Final = Reply(
    code=452, enhanced="4.3.1", text="Too much mail arrives at once, try again later", rule="memory"
)


class Budget:
    """
    Counts what is held.

    :ivar held: bytes that are held now, over all sessions and listeners.
    """

    __slots__ = ("_most", "held")

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self.held = 0

    def take(self, count: int) -> None:
        """Hold ``count`` bytes more; it is never refused, see :attr:`exceeded`."""
        self.held += count

    def give_back(self, count: int) -> None:
        """Hold ``count`` bytes less."""
        self.held -= count

    @property
    def exceeded(self) -> bool:
        """Whether everybody shall hold as little as they can."""
        return self.held >= self._most

    def refusal(self) -> Reply | None:
        """Return why no new message may begin, or ``None`` if one may."""
        return _TAKEN if self.held >= self._most else None
