"""
How much of what a client sent ahead is worked on before everybody else has a turn.

A reactor serves one connection after the other, and does nothing else meanwhile. A client may send ten
thousand commands in one segment; after a few of them its session waits for the next turn of the reactor, its
replies written and nothing more read from it.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: What a session may spend: a command costs 1, which is about 10 microseconds of ours.
MOST: Final = 32
#: A segment of content costs so much.
CONTENT: Final = 8


class Turn:
    """
    What a session may still do in this turn of the reactor.

    :param go_on: called in the next turn, when there is something to spend again.
    """

    __slots__ = ("_call", "_clock", "_go_on", "_left")

    def __init__(self, clock: IReactorTime, go_on: Callable[[], object]) -> None:
        self._clock = clock
        self._go_on = go_on
        self._left = MOST
        self._call: IDelayedCall | None = None

    @property
    def over(self) -> bool:
        """The budget is used up."""
        return self._left <= 0

    @property
    def waiting(self) -> bool:
        """The next turn has not come."""
        return self._call is not None

    def spend(self, cost: int) -> None:
        """Do something that costs so much."""
        self._left -= cost

    def renew(self) -> None:
        """Give the whole budget again: the reactor has turned since."""
        self._left = MOST

    def wait(self) -> None:
        """Go on in the next turn."""
        if self._call is None:
            self._call = self._clock.callLater(0, self._begin)

    def cancel(self) -> None:
        """Cancel the pending call."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _begin(self) -> None:
        self._call = None
        self._left = MOST
        self._go_on()
