"""
What signals do beside the first SIGTERM or SIGINT.

That one ends the relay in order, which takes as long as what is under way; whoever sends another does not
want to wait for that. SIGHUP never ends it: whoever rotates logs sends one.
"""

import os
import signal
from collections.abc import Callable
from typing import Any, Final

_BOTH: Final = (signal.SIGTERM, signal.SIGINT)


def end_at_second(reactor: Any, last: Callable[[], object] = lambda: None) -> None:
    """
    From when the reactor begins to stop, let SIGTERM and SIGINT end the process at once.

    A line on the standard error says so; the exit status is 128 and the signal's number, as of what was
    killed. What was under way is resolved at the next start, as after a crash.

    :param last: called before.
    """

    def end(number: int, _frame: object) -> None:
        name = signal.Signals(number).name
        # Not by a stream: the signal may have come while it was writing.
        os.write(2, f"smtprelay: {name} while stopping: ended at once, with what was under way\n".encode())
        last()
        os._exit(128 + number)

    _when_stopping(reactor, end)


def ignore_hangup() -> None:
    """Until :func:`at_hangup` let SIGHUP do nothing."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def at_hangup(reactor: Any) -> list[Callable[[], object]]:
    """Return a list: from now on SIGHUP has what is in it called, by the reactor as soon as that runs."""
    chores: list[Callable[[], object]] = []

    def do() -> None:
        for chore in chores:
            chore()

    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(do))
    return chores


def ignore_second(reactor: Any) -> None:
    """From when the reactor begins to stop, ignore SIGTERM and SIGINT: somebody else has the patience."""
    _when_stopping(reactor, signal.SIG_IGN)


def _when_stopping(reactor: Any, what: Any) -> None:
    def arm() -> None:
        for number in _BOTH:
            signal.signal(number, what)

    reactor.addSystemEventTrigger("before", "shutdown", arm)
