"""
What serves HTTP: the sites of the configuration, and the control socket.
"""

import errno
import os
import socket
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import evolve, frozen
from twisted.internet.defer import DeferredList, maybeDeferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.web.resource import Resource
from twisted.web.server import Site

from smtprelay.config.endpoint import LONGEST_SOCKET, place_of
from smtprelay.config.setting_defaults import RUNTIME, runtime_folders
from smtprelay.service.workers.sockets import make_endpoint

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

    @property
    def place(self) -> tuple[str, str]:
        """Where it listens."""
        return place_of(self.name, self.endpoint)


class Ports:
    """The HTTP sites that are open, to be closed in order."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._sites: dict[tuple[str, str], tuple[HttpPort, IListeningPort]] = {}

    @property
    def addresses(self) -> Mapping[str, Any]:
        """Where sites are served, by name."""
        return {site.name: port.getHost() for site, port in self._sites.values()}

    async def open(self, sites: Iterable[HttpPort]) -> None:
        """
        Listen for HTTP; where a site is open already it serves from now on what this one does.

        :raises CannotListenError: or ``OSError`` for a socket that cannot be made.
        """
        for site in sites:
            if site.place in self._sites:
                open_site, port = self._sites[site.place]
                open_site.site.resource = site.site.resource
                self._sites[site.place] = (evolve(site, site=open_site.site), port)
                continue
            if site.socket:
                _check(site.socket)
                _remove(site.socket)
            port = await make_endpoint(self._reactor, site.endpoint).listen(site.site)
            self._sites[site.place] = (site, port)

    async def keep(self, sites: Iterable[HttpPort]) -> None:
        """Close all other sites."""
        others = self._sites.keys() - {site.place for site in sites}
        closed = [self._sites.pop(other) for other in others]
        for site, _ in closed:
            site.site.resource = Resource()  # for clients that are connected
        await self._close([port for _, port in closed])

    async def close(self) -> None:
        """Stop listening."""
        await self._close([port for _, port in self._sites.values()])

    async def _close(self, ports: Iterable[IListeningPort]) -> None:
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
