"""
What the relay listens on: listeners for mail, and sites for HTTP, each with a name.
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
from smtprelay.service.workers.sockets import Inherited, described, make_endpoint
from smtprelay.smtp.factory import ESMTPFactory

#: Seconds that ports have to close.
_CLOSING: Final = 2.0


@frozen(kw_only=True)
class HttpPort:
    """
    An HTTP site and where it listens.

    :ivar socket: the path of a UNIX socket; else ``""``.
    """

    name: str
    endpoint: str
    site: Site
    socket: str = ""


class Ports:
    """
    All that is open, to be closed in order.

    :param inherited: the sockets of the listeners, where another process has opened them.
    """

    def __init__(self, reactor: Any, inherited: Inherited | None = None) -> None:
        self._reactor = reactor
        self._inherited = inherited
        self._listeners: dict[str, tuple[Listener, ESMTPFactory, IListeningPort]] = {}
        self._sites: dict[str, tuple[HttpPort, IListeningPort]] = {}

    @property
    def addresses(self) -> Mapping[str, Any]:
        """Where it listens, by name."""
        return {name: port.getHost() for name, port in self._open.items()}

    @property
    def _open(self) -> Mapping[str, IListeningPort]:
        listeners = {name: port for name, (_, _, port) in self._listeners.items()}
        return {**listeners, **{name: port for name, (_, port) in self._sites.items()}}

    def described(self) -> Sequence[Mapping[str, Any]]:
        """Return the listeners as JSON objects."""
        return [described(listener, port) for listener, _, port in self._listeners.values()]

    async def open_listener(self, listener: Listener, factory: ESMTPFactory) -> None:
        """Listen for mail; raises ``CannotListenError``."""
        server: Any = factory
        if factory.settings.tls_implicit and factory.settings.tls is not None:
            server = TLSMemoryBIOFactory(factory.settings.tls, False, factory, self._reactor)
        if self._inherited is None:
            endpoint = make_endpoint(self._reactor, listener.endpoint)
        else:
            endpoint = self._inherited.endpoint(self._reactor, listener.name, listener.endpoint)
        port = await endpoint.listen(server)
        read_to_the_end(port)
        self._listeners[listener.name] = (listener, factory, port)

    async def open_site(self, site: HttpPort) -> None:
        """
        Listen for HTTP; a site that is open already serves what this one does from now on.

        :raises CannotListenError: or ``OSError`` for a socket that cannot be made.
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
    def factories(self) -> Sequence[ESMTPFactory]:
        """Who makes the SMTP sessions, of all listeners."""
        return [factory for _, factory, _ in self._listeners.values()]

    def end_sessions(self, bound: float, outcomes_bound: float) -> Deferred[Any]:
        """
        Refuse new clients; fires when all sessions are gone.

        That is after ``bound`` seconds at the latest; after ``outcomes_bound`` seconds if a client has sent
        its message and waits for what becomes of it.

        The ports stay open: a 421 tells a client more than a closed port.
        """
        factories = self.factories
        waiting = [factory.stop_sessions() for factory in factories]

        def abort(*, concluding: bool) -> None:
            for factory in factories:
                factory.abort_sessions(concluding=concluding)

        aborts = [
            self._reactor.callLater(bound, abort, concluding=False),
            self._reactor.callLater(outcomes_bound, abort, concluding=True),
        ]

        def ended(result: object) -> object:
            for each in aborts:
                if each.active():
                    each.cancel()
            return result

        return DeferredList(waiting, consumeErrors=True).addBoth(ended)

    async def close(self) -> None:
        """Stop listening."""
        ports = self._open.values()
        closing = DeferredList([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)
        # A socket whose file was removed never reports that it is closed.
        await closing.addTimeout(_CLOSING, self._reactor).addErrback(
            lambda failure: failure.trap(TookTooLong)
        )


def _check(path: str) -> None:
    """Make the folder of the control socket if it is ours; raise ``OSError`` that says what is wrong."""
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
        number, why = errno.EEXIST, "exists and is not a socket"
    if number:
        place = path if number in {errno.ENAMETOOLONG, errno.EEXIST} else str(folder)
        raise OSError(number, f"{why or os.strerror(number)}: set control_socket to another path", place)


def _make_runtime_folder(folder: Path) -> tuple[int, str]:
    """Make one of our own folders; return the number of an error, 0 for none, and its text if it has one."""
    try:
        # The socket in /run has a mode of its own.
        folder.mkdir(mode=0o755 if str(folder) == RUNTIME else 0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        return error.errno or errno.EIO, ""
    # In /tmp another user may have made it before.
    foreign = (
        status.st_uid != os.getuid() or status.st_mode & stat.S_IWOTH or not stat.S_ISDIR(status.st_mode)
    )
    if foreign and str(folder) != RUNTIME:
        return errno.EPERM, "belongs to another user"
    return 0, ""


def _remove(path: str) -> None:
    """
    Remove the socket that a killed process has left; raise ``CannotListenError`` if another relay uses it.

    A relay without a spool has no lock that would show this.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        if client.connect_ex(path) in (0, errno.EAGAIN):
            raise CannotListenError(None, path, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))
    Path(path).unlink(missing_ok=True)
