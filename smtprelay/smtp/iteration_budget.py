"""
How much of what a client sent ahead is worked on in one iteration of the reactor.

A client may send ten thousand commands in one segment. After a few of them its session waits for the next
iteration, its replies written and nothing more read from it, so that other connections are served.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: What a session may spend in an iteration: a command costs 1, about 10 microseconds.
MOST: Final = 32
#: What a segment of content costs.
CONTENT: Final = 8


class IterationBudget:
    """
    What a session may still do in this iteration of the reactor.

    :param go_on: called in the next iteration, when there is something to spend again.
    :ivar left: what may still be spent; none if it is 0 or less. :data:`MOST`, once the reactor has turned.
    :ivar waiting: nothing more may be done before the next iteration.
    """

    __slots__ = ("_call", "_clock", "_go_on", "left", "waiting")

    def __init__(self, clock: IReactorTime, go_on: Callable[[], object]) -> None:
        self._clock = clock
        self._go_on = go_on
        self._call: IDelayedCall | None = None
        self.left = MOST
        self.waiting = False

    def wait(self) -> None:
        """Go on in the next iteration."""
        if not self.waiting:
            self.waiting = True
            self._call = self._clock.callLater(0, self._begin)

    def cancel(self) -> None:
        """Cancel the pending call."""
        call, self._call = self._call, None
        self.waiting = False
        if call is not None:
            call.cancel()

    def _begin(self) -> None:
        self._call = None
        self.waiting = False
        self.left = MOST
        self._go_on()
