"""
The relay's own threads: passwords and files do not wait for Twisted's common pool, nor it for them.
"""

from collections.abc import Callable
from threading import Thread
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

#: Verifying a password keeps a core busy for tens of milliseconds.
_LOGINS: Final = 2
_WORK: Final = 4


class Threads:
    """Two small pools: one verifies passwords, one does the work on files; and a thread for what may hang."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._logins = ThreadPool(0, _LOGINS, "smtprelay-logins")
        self._work = ThreadPool(0, _WORK, "smtprelay-work")

    def start(self) -> None:
        """Start both pools."""
        self._logins.start()
        self._work.start()

    def login(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Run ``function`` on a thread for logins."""
        return deferToThreadPool(self._reactor, self._logins, function, *arguments)

    def work(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Run ``function`` on a thread for work."""
        return deferToThreadPool(self._reactor, self._work, function, *arguments)

    def own(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Run ``function``, which may hang, on a thread of its own, for which neither we nor Python wait."""
        done: Deferred[Any] = Deferred()

        def run() -> None:
            try:
                result = function(*arguments)
            except Exception:  # noqa: BLE001 -- it is raised where the result is awaited
                result = Failure()
            self._reactor.callFromThread(done.callback, result)

        Thread(target=run, name="smtprelay-own", daemon=True).start()
        return done

    def stop(self) -> None:
        """End the threads when they have finished their work."""
        self._logins.stop()
        self._work.stop()
