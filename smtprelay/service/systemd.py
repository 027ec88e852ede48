"""
Tells systemd how the relay does: that it is ready, what it does, that it stops, and that its reactor turns.

The protocol is that of ``sd_notify(3)``: datagrams to the socket that ``NOTIFY_SOCKET`` names. A unit
with ``Type=notify`` waits for READY, and with ``WatchdogSec`` the relay is killed and started again when its
reactor stands still.
"""

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

#: How often the status is renewed, seconds.
STATUS_EVERY: Final = 10.0

#: What a start that waits for its database asks for beyond the next attempt, seconds.
EXTENSION: Final = 60.0

#: Characters of the status; systemd shows one line.
_LONGEST: Final = 200

#: When systemd does not read, a datagram is tried again after so many seconds.
_AGAIN: Final = 0.2

Fields = Mapping[str, object]


class SystemdNotifier:
    """
    An :class:`smtprelay.interfaces.Events` that passes on to systemd what it wants to know.

    :param environ: with ``NOTIFY_SOCKET``; without it nothing is told. ``WATCHDOG_USEC`` is how often systemd
        wants a sign of life, from the process that ``WATCHDOG_PID`` names.
    """

    def __init__(self, reactor: IReactorTime, environ: Mapping[str, str]) -> None:
        self._reactor = reactor
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._environ = environ
        self._telling: LoopingCall | None = None
        self._handlers: dict[str, Callable[[Fields], object]] = {
            "spool.unavailable": self._waits,
            "worker.waiting": self._waits,
            "relay.ready": self._ready,
            "relay.failed": self._failed,
            "relay.stop": self._stops,
        }
        self._exposition: Callable[[], Awaitable[CollectorRegistry]] | None = None

    def __call__(self, event: str, /, **fields: object) -> None:
        """Hear of one event."""
        if (handler := self.ear(event)) is not None:
            handler(fields)

    def ear(self, event: str) -> Callable[[Fields], object] | None:
        """Return what handles events of this kind; ``None`` if systemd is not told of them."""
        return self._handlers.get(event) if self._address else None

    def start(self, exposition: Callable[[], Awaitable[CollectorRegistry]]) -> None:
        """
        Begin to send signs of life; the reactor runs by now.

        :param exposition: gives the metrics of the relay, for its status.
        """
        self._exposition = exposition
        patience = _watchdog(self._environ)
        if self._address and patience:
            # Three times as often as needed: one late turn of the reactor is no reason to be killed.
            self._every(patience / 3, lambda: self._send("WATCHDOG=1"))

    def _waits(self, fields: Fields) -> None:
        until_next = fields.get("seconds", 0)
        assert isinstance(until_next, int | float)
        self._send(
            f"EXTEND_TIMEOUT_USEC={int((EXTENSION + until_next) * 1_000_000)}",
            _status(f"waiting for the spool's database {fields.get('reason', '')}"),
        )

    def _ready(self, fields: Fields) -> None:
        self._send("READY=1", _status(f"ready: {fields['listeners']}"))
        self._telling = self._every(STATUS_EVERY, lambda: Deferred.fromCoroutine(self._tell_status()))

    def _failed(self, fields: Fields) -> None:
        self._send(_status(f"cannot start: {fields['reason']}"))

    def _stops(self, fields: Fields) -> None:
        self._handlers.clear()
        if self._telling is not None and self._telling.running:
            self._telling.stop()
        self._send("STOPPING=1", _status(f"stopping: {fields['reason']}"))

    async def _tell_status(self) -> None:
        if self._exposition is not None:
            registry = await self._exposition()
            if self._handlers:
                self._send(_status(summary(registry)))

    def _every(self, seconds: float, what: Callable[[], object]) -> LoopingCall:
        call = LoopingCall(what)
        call.clock = self._reactor
        call.start(seconds)
        return call

    def _send(self, *lines: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendto("\n".join(lines).encode(), self._address)
            except BlockingIOError:
                self._reactor.callLater(_AGAIN, self._send, *lines)
            except OSError:
                # Nobody is there any more; nothing depends on it.
                return


def summary(registry: CollectorRegistry) -> str:
    """Return in one line how the relay does, by its metrics: for ``systemctl status``."""
    states: dict[str, int] = {}
    blocked = []
    ready = True
    for family in registry.collect():
        for sample in family.samples:
            if sample.name == "smtprelay_spool_deliveries" and sample.value:
                states[sample.labels["state"]] = int(sample.value)
            elif sample.name == "smtprelay_provider_blocked_lanes" and sample.value:
                blocked.append(sample.labels["provider"])
            elif sample.name == "smtprelay_ready":
                ready = bool(sample.value)
    waiting = ", ".join(f"{number} {state}" for state, number in states.items()) or "nothing waits"
    parts = ["ready" if ready else "not ready", waiting]
    if blocked:
        parts.append(f"blocked: {', '.join(blocked)}")
    return "; ".join(parts)


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
