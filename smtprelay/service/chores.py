"""
What a relay does again and again.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from smtprelay.interfaces import Events

#: What is told if it fails, how often it is done, seconds, and what it is.
Chore = tuple[str, float, Callable[[], Awaitable[Any]]]


def every(
    clock: Any,
    events: Events,
    operation: str,
    seconds: float,
    chore: Callable[[], Awaitable[Any]],
) -> LoopingCall:
    """
    Do ``chore`` every so many seconds, each time after the last has ended; stop the call to end that.

    :param operation: what is told if it fails.
    """

    async def do() -> None:
        try:
            await chore()
        except Exception as error:  # noqa: BLE001 -- whatever the spool raises, the next time comes
            events("spool.failed", operation=operation, reason=str(error) or type(error).__name__)

    call = LoopingCall(lambda: Deferred.fromCoroutine(do()))
    call.clock = clock
    call.start(seconds, now=False)
    return call
