"""
One budget for the memory of all messages that are being received.

Whoever holds content of a message counts it here. When the budget is used up, new messages are refused for
now and those being received go to the disk sooner. No message waits for another one's share, so there is no
deadlock. Pure.
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
        """Hold ``count`` bytes more; it is never refused."""
        self.held += count

    def give_back(self, count: int) -> None:
        """Hold ``count`` bytes less."""
        self.held -= count

    @property
    def exceeded(self) -> bool:
        """Whether each message must hold as little as it can."""
        return self.held >= self._most

    def refusal(self) -> Reply | None:
        """Return why no new message may begin, or ``None`` if one may."""
        return _TAKEN if self.held >= self._most else None
