"""
What signals do, except the first SIGTERM or SIGINT, which stops the relay in order.

That takes as long as what is under way, so a second one ends the relay at once. SIGHUP never ends it: it is
for the rotation of logs.
"""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any, Final

_BOTH: Final = (signal.SIGTERM, signal.SIGINT)

#: Signals within this many seconds count as one: ``timeout`` signals its child, then the child's group.
_ONE: Final = 1.0


def end_at_second(reactor: Any, last: Callable[[], object] = lambda: None) -> None:
    """
    Let a second SIGTERM or SIGINT end the process at once.

    A line on the standard error says so; the exit status is 128 plus the signal's number. What was under way
    is resolved at the next start, as after a crash.

    :param last: called before.
    """

    def end(number: int, since: float) -> None:
        if time.monotonic() < since + _ONE:
            return
        name = signal.Signals(number).name
        # Not through a stream: the signal may have interrupted it.
        os.write(2, f"smtprelay: {name} while stopping: ended at once, with what was under way\n".encode())
        last()
        os._exit(128 + number)

    after_first(reactor, end)


def at_hangup(reactor: Any) -> list[Callable[[], object]]:
    """Return a list of functions that SIGHUP calls from now on, in the reactor once that runs."""
    callbacks: list[Callable[[], object]] = []

    def do() -> None:
        for callback in callbacks:
            callback()

    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(do))
    return callbacks


def after_first(reactor: Any, do: Callable[[int, float], object]) -> None:
    """
    Call ``do`` for each SIGTERM or SIGINT after the first, or after the reactor begins to stop.

    The reactor gets only the first: it cannot be stopped twice.

    :param do: gets the signal's number, and the time of the first, by ``time.monotonic``.
    """

    def arm() -> None:
        since = time.monotonic()
        for number in _BOTH:
            signal.signal(number, lambda number, _frame: do(number, since))

    def watch() -> None:
        for number in _BOTH:
            stop = signal.getsignal(number)
            if callable(stop):
                signal.signal(number, partial(first, stop))

    # The next signal may interrupt this before it is armed.
    once = Lock()

    def first(stop: Callable[[int, Any], object], number: int, frame: Any) -> None:
        if once.acquire(blocking=False):
            arm()
            stop(number, frame)

    reactor.callWhenRunning(watch)
    reactor.addSystemEventTrigger("before", "shutdown", arm)
