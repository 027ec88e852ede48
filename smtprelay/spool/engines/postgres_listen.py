"""
Wakes the dispatcher when another node queued mail (NOTIFY, else polling).

A thread listens to the database's notifications, so that mail which one node accepted does not wait
until another node polls. Where the database sends no notifications, the thread wakes the dispatcher every
second; it also does so every ten seconds where they are sent.
"""

from collections.abc import Callable
from threading import Event, Thread
from typing import Any, Final

import psycopg
from psycopg import Error

from smtprelay.spool.engines.postgres_connection import UrlSource, connect

#: How often to wake without a reason: where notifications come, and where there are none, seconds.
_SELDOM: Final = 10.0
_OFTEN: Final = 1.0

#: How long to wait at once, so that the end is not missed, seconds.
_SHORT: Final = 0.5


class NotificationListener:
    """
    Calls ``wake`` on each notification, and periodically.

    :param wake: called on a thread of ours.
    """

    def __init__(self, url: UrlSource, channel: str, node: str, wake: Callable[[], object]) -> None:
        self._url = url
        self._channel = channel
        self._node = node
        self._wake = wake
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="spool-listener", daemon=True)

    def start(self) -> None:
        """Listen from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop calling ``wake``; the thread ends within half a second, unless it is connecting."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with connect(self._url) as connection:
                    self._listen(connection)
            except (Error, ValueError, OSError):
                self._pause()

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        try:
            connection.execute(f'LISTEN "{self._channel}"')
        except Error:
            if connection.closed:
                raise
            while not self._stopped.is_set():
                self._pause()
            return
        waited = _SELDOM  # earlier notifications were missed
        while not self._stopped.is_set():
            nodes = [each.payload for each in connection.notifies(timeout=_SHORT, stop_after=1)]
            waited += _SHORT
            if waited >= _SELDOM or any(node != self._node for node in nodes):
                waited = 0.0
                self._wake()

    def _pause(self) -> None:
        self._wake()
        self._stopped.wait(_OFTEN)
