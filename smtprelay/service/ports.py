"""
What the relay listens on: doors for mail, sites for HTTP, each with a name.
"""

import errno
import os
import socket
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.server import Site

from smtprelay.config.defaults import RUNTIME, runtime_folders
from smtprelay.config.endpoint import LONGEST_SOCKET
from smtprelay.config.listeners import Listener
from smtprelay.net.transports import read_to_the_end
from smtprelay.service.workers.sockets import Inherited, make_endpoint, spoken_address
from smtprelay.smtp.factory import ESMTPFactory

#: Seconds that ports may take to be closed.
_CLOSING: Final = 2.0


@frozen(kw_only=True)
class SmtpPort:
    """A listener: where it listens, and who speaks SMTP there."""

    name: str
    endpoint: str
    factory: ESMTPFactory

    @classmethod
    def of(cls, listener: Listener, factory: ESMTPFactory) -> "SmtpPort":
        """Return the door of a listener's settings."""
        return cls(name=listener.name, endpoint=listener.endpoint, factory=factory)


@frozen(kw_only=True)
class HttpPort:
    """
    An HTTP site and where it listens.

    :ivar socket: the file of a UNIX socket, which is made for owner and group alone; else ``""``.
    """

    name: str
    endpoint: str
    site: Site
    socket: str = ""


class Ports:
    """
    All that is open, to be closed in order.

    :param inherited: the sockets of the doors, where another process has opened them.
    """

    def __init__(self, reactor: Any, inherited: Inherited | None = None) -> None:
        self._reactor = reactor
        self._inherited = inherited
        self._doors: dict[str, tuple[SmtpPort, IListeningPort]] = {}
        self._sites: dict[str, tuple[HttpPort, IListeningPort]] = {}

    @property
    def addresses(self) -> Mapping[str, Any]:
        """Where it listens, by name."""
        return {name: port.getHost() for name, (_, port) in {**self._doors, **self._sites}.items()}

    def described(self) -> Sequence[Mapping[str, Any]]:
        """Return the doors as JSON objects."""
        return [
            {"name": name, "endpoint": door.endpoint, "address": spoken_address(port.getHost())}
            for name, (door, port) in self._doors.items()
        ]

    def spoken(self) -> str:
        """Return all addresses in one line."""
        return ", ".join(f"{name} on {spoken_address(host)}" for name, host in self.addresses.items())

    async def open_door(self, door: SmtpPort) -> None:
        """Listen for mail; raises ``CannotListenError``."""
        factory: Any = door.factory
        settings = door.factory.settings
        if settings.tls_implicit and settings.tls is not None:
            factory = TLSMemoryBIOFactory(settings.tls, False, factory, self._reactor)
        port = await self._endpoint(door).listen(factory)
        read_to_the_end(port)
        self._doors[door.name] = (door, port)

    async def open_site(self, site: HttpPort) -> None:
        """
        Listen for HTTP; a site that is open already shows what this one does from now on.

        :raises CannotListenError: or ``OSError`` for a socket without a place.
        """
        if site.name in self._sites:
            self._sites[site.name][0].site.resource = site.site.resource
            return
        if site.socket:
            _check(site.socket)
            _remove(site.socket)
        port = await make_endpoint(self._reactor, site.endpoint).listen(site.site)
        self._sites[site.name] = (site, port)

    @property
    def sessions(self) -> int:
        """How many SMTP sessions there are."""
        return sum(door.factory.sessions for door, _ in self._doors.values())

    def turn_away(self) -> None:
        """Tell everybody 421: who comes at once, who is here when no message of theirs is on its way."""
        for door, _ in self._doors.values():
            door.factory.turn_away()

    def admit(self) -> None:
        """Let everybody in again."""
        for door, _ in self._doors.values():
            door.factory.admit()

    def end_sessions(self, bound: float, verdicts: float) -> Deferred[Any]:
        """
        Turn everybody away; fires when all sessions are gone.

        That is after ``bound`` seconds at the latest; after ``verdicts`` seconds if a client has sent its
        message and waits for what becomes of it.

        The doors stay open: a 421 tells a client more than a port where nobody answers.
        """
        doors = [door for door, _ in self._doors.values()]
        waiting = [door.factory.stop_sessions() for door in doors]

        def cut(*, concluding: bool) -> None:
            for door in doors:
                door.factory.abort_sessions(concluding=concluding)

        cuts = [
            self._reactor.callLater(bound, cut, concluding=False),
            self._reactor.callLater(verdicts, cut, concluding=True),
        ]

        def gone(result: object) -> object:
            for each in cuts:
                if each.active():
                    each.cancel()
            return result

        return DeferredList(waiting, consumeErrors=True).addBoth(gone)

    async def close(self) -> None:
        """Answer nobody any more."""
        ports = [*self._doors.values(), *self._sites.values()]
        closing = DeferredList([maybeDeferred(port.stopListening) for _, port in ports], consumeErrors=True)
        # A socket whose file somebody has removed never says that it is closed.
        await closing.addTimeout(_CLOSING, self._reactor).addErrback(
            lambda failure: failure.trap(TookTooLong)
        )

    def _endpoint(self, door: SmtpPort) -> Any:
        if self._inherited is not None:
            return self._inherited.endpoint(self._reactor, door.name, door.endpoint)
        return make_endpoint(self._reactor, door.endpoint)


def _check(path: str) -> None:
    """Make the folder of the control socket if it is ours; raise what is wrong, with the setting."""
    folder = Path(path).parent
    number, why = 0, ""
    if len(os.fsencode(path)) > LONGEST_SOCKET:
        number, why = (
            errno.ENAMETOOLONG,
            f"longer than the {LONGEST_SOCKET} bytes that a socket's path may have",
        )
    elif str(folder) in runtime_folders(os.environ):
        number, why = _make_runtime_folder(folder)
    elif not folder.is_dir():
        number = errno.ENOENT
    if not number and not os.access(folder, os.W_OK | os.X_OK):
        number = errno.EACCES
    if not number and os.path.lexists(path) and not Path(path).is_socket():
        number, why = errno.EEXIST, "exists, and is no socket"
    if number:
        place = path if number in {errno.ENAMETOOLONG, errno.EEXIST} else str(folder)
        raise OSError(number, f"{why or os.strerror(number)}: set control_socket to another path", place)


def _make_runtime_folder(folder: Path) -> tuple[int, str]:
    """Make one of our own folders; return the number of an error, 0 for none, and its words if it has any."""
    try:
        # That in /run is for all who may use the socket, by its own mode.
        folder.mkdir(mode=0o755 if str(folder) == RUNTIME else 0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        return error.errno or errno.EIO, ""
    # In /tmp others may have been there before us.
    foreign = (
        status.st_uid != os.getuid() or status.st_mode & stat.S_IWOTH or not stat.S_ISDIR(status.st_mode)
    )
    if foreign and str(folder) != RUNTIME:
        return errno.EPERM, "belongs to somebody else"
    return 0, ""


def _remove(path: str) -> None:
    """
    Remove what a killed process left behind; raise ``CannotListenError`` if it is another relay's.

    Who has a spool has proven that by its lock already; a relay without one has nothing but its socket.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        if client.connect_ex(path) in (0, errno.EAGAIN):
            raise CannotListenError(None, path, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))
    Path(path).unlink(missing_ok=True)
