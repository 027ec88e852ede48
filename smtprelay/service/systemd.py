"""
Tells systemd the state of the relay: ready, waiting, stopping, and that its reactor runs.

The protocol is that of ``sd_notify(3)``: datagrams to the socket that ``NOTIFY_SOCKET`` names. A unit
with ``Type=notify`` waits for READY, and with ``WatchdogSec`` the relay is killed and restarted when its
reactor hangs.
"""

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall

from smtprelay.telemetry.families import Fields

#: Seconds beyond the next attempt that a start asks for while it waits for its database.
EXTENSION: Final = 60.0

#: Characters of the status; systemd shows one line.
_LONGEST: Final = 200

#: Seconds between attempts to send a new state that systemd does not read, and their maximum number.
_AGAIN: Final = 0.2
_TRIES: Final = 500


class SystemdNotifier:
    """
    An :class:`smtprelay.interfaces.Events` that passes on to systemd what it needs to know.

    :param environ: with ``NOTIFY_SOCKET``; without it nothing is sent. ``WATCHDOG_USEC`` is how often systemd
        wants a sign of life, from the process ``WATCHDOG_PID``.
    """

    def __init__(self, reactor: IReactorTime, environ: Mapping[str, str]) -> None:
        self._reactor = reactor
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._environ = environ
        self._retry: IDelayedCall | None = None
        self._handlers: dict[str, Callable[[Fields], object]] = {
            "spool.unavailable": self._waits,
            "worker.waiting": self._waits,
            "relay.ready": self._ready,
            "relay.failed": self._failed,
            "relay.stop": self._stops,
        }

    def __call__(self, event: str, /, **fields: object) -> None:
        """Pass on one event."""
        if (handler := self.handler_for(event)) is not None:
            handler(fields)

    def handler_for(self, event: str) -> Callable[[Fields], object] | None:
        """Return the handler for an event; ``None`` if systemd does not need it."""
        return self._handlers.get(event) if self._address else None

    def start(self) -> None:
        """Start sending signs of life; the reactor must run."""
        patience = _watchdog(self._environ)
        if self._address and patience:
            call = LoopingCall(self._send, "WATCHDOG=1")
            call.clock = self._reactor
            # Three times as often as needed: one late iteration of the reactor must not get us killed.
            call.start(patience / 3)

    def _waits(self, fields: Fields) -> None:
        if "relay.ready" not in self._handlers:
            return  # a worker restarts while the relay is ready
        until_next = fields.get("seconds", 0)
        assert isinstance(until_next, int | float)
        self._tell(
            f"EXTEND_TIMEOUT_USEC={int((EXTENSION + until_next) * 1_000_000)}",
            _status(f"waiting for the spool's database {fields.get('reason', '')}"),
        )

    def _ready(self, fields: Fields) -> None:
        del self._handlers["relay.ready"]
        self._tell("READY=1", _status(f"ready: {fields['listeners']}"))

    def _failed(self, fields: Fields) -> None:
        self._tell(_status(f"cannot start: {fields['reason']}"))

    def _stops(self, fields: Fields) -> None:
        self._handlers.clear()
        self._tell("STOPPING=1", _status(f"stopping: {fields['reason']}"))

    def _tell(self, *lines: str, tries: int = _TRIES) -> None:
        """Send a new state until systemd has taken it, or there is a newer one."""
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        if not self._send("\n".join(lines)) and tries > 1:
            self._retry = self._reactor.callLater(_AGAIN, self._tell, *lines, tries=tries - 1)

    def _send(self, datagram: str) -> bool:
        """Send a datagram; ``False``: there is no room for it now."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(datagram.encode(errors="replace"), self._address)
            except BlockingIOError:
                return False
            except OSError:
                # systemd does not listen any more; nothing depends on it.
                pass
        return True


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:_LONGEST]}"


def _address(text: str) -> str:
    """Return the address of a socket by its path, or with ``@`` by its abstract name; ``""`` for others."""
    if text.startswith("@"):
        return f"\0{text[1:]}"
    return text if text.startswith("/") else ""


def _watchdog(environ: Mapping[str, str]) -> float:
    """Return within how many seconds systemd wants a sign of life from this process; 0 for never."""
    with suppress(ValueError):
        if int(environ.get("WATCHDOG_PID", os.getpid())) == os.getpid():
            return max(0, int(environ.get("WATCHDOG_USEC", 0))) / 1_000_000
    return 0.0
