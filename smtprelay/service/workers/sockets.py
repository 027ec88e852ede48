"""
Listening sockets that several processes share: the supervisor opens them, the workers inherit them.

Endpoint strings mean the same on both sides. The supervisor makes the endpoint listen and accepts no
clients; a worker makes the same endpoint, with its TLS, on a reactor for which
listening means to use the inherited socket.
"""

import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

from attrs import frozen
from twisted.internet import tcp, unix
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from smtprelay.config.endpoint import own_part, reason
from smtprelay.config.listeners import Listener
from smtprelay.model.message import Client
from smtprelay.model.network import host_and_port
from smtprelay.net.worker_memory import WorkerMemory
from smtprelay.service.errors import CONFIG, UNAVAILABLE, StartFailed
from smtprelay.smtp.refusals import Refusals
from smtprelay.smtp.reply import not_ready, render

#: The file descriptors of a worker: a pipe that is closed when its parent is gone, one on which it tells its
#: state, the memory that all workers share, and the text of their configuration.
LIFELINE: Final = 3
HEARTBEAT: Final = 4
MEMORY: Final = 5
TEXT: Final = 6
#: From here on, the sockets.
FIRST_SOCKET: Final = 7


#: How long a worker with more clients than the others leaves a new one to them, seconds.
_YIELD_TIME: Final = 0.002


class Sockets:
    """
    The sockets of all listeners, opened for others.

    :param hostname: in the answer to clients that are turned away.
    :param refusals: records these.
    """

    def __init__(self, hostname: str, refusals: Refusals) -> None:
        self._refusals = refusals
        self._goodbye = partial(_RefusingProtocol, hostname, refusals)
        self._accepting = False
        self._ports: dict[str, tuple[Listener, Any]] = {}

    @property
    def numbers(self) -> Mapping[str, int]:
        """The file descriptors by the listeners' names."""
        return {name: port.fileno() for name, (_, port) in self._ports.items()}

    @property
    def addresses(self) -> Mapping[str, Any]:
        """Where it listens, by the listeners' names."""
        return {name: port.getHost() for name, (_, port) in self._ports.items()}

    def described(self) -> Sequence[Mapping[str, Any]]:
        """Return the listeners as JSON objects."""
        return [described(listener, port) for listener, port in self._ports.values()]

    def turn_away(self, on: bool) -> None:
        """Answer 421 to clients while no worker accepts them; or leave them to the workers again."""
        if on == self._accepting:
            return
        self._accepting = on
        for _, port in self._ports.values():
            if on:
                port.startReading()
            else:
                port.stopReading()

    async def close(self) -> None:
        """Stop listening."""
        self._refusals.stop()
        for _, port in self._ports.values():
            await maybeDeferred(port.stopListening)

    async def open(self, reactor: Any, listener: Listener) -> None:
        """
        Listen, and leave it to the workers to accept.

        :raises CannotListenError: as any endpoint.
        :raises StartFailed: no other process can accept there.
        """
        goodbye: Any = partial(self._goodbye, listener.name)
        endpoint = make_endpoint(reactor, own_part(listener.endpoint))
        port: Any = await endpoint.listen(Factory.forProtocol(goodbye))
        self._ports[listener.name] = (listener, port)
        if not hasattr(port, "stopReading"):
            why = "workers cannot share an endpoint of this kind: use tcp, or remove workers and supervise"
            raise StartFailed(f"{listener.endpoint}: {why}", CONFIG)
        # No client was accepted: the reactor has not run since.
        port.stopReading()


class _RefusingProtocol(Protocol):
    """A client while no worker can take its mail."""

    def __init__(self, hostname: str, refusals: Refusals, listener: str) -> None:
        self._hostname = hostname
        self._refusals = refusals
        self._listener = listener

    def connectionMade(self) -> None:
        """Answer 421, and hang up."""
        assert self.transport is not None  # Twisted's
        refusal = not_ready(self._hostname)
        address = getattr(self.transport.getPeer(), "host", "unix")
        self._refusals.turned_away(Client(address=address, listener=self._listener), refusal)
        self.transport.write(render(refusal))
        self.transport.loseConnection()


@frozen
class Inherited:
    """
    What a worker has from the process that opened the sockets.

    :ivar numbers: file descriptors by the listeners' names.
    :ivar memory: what all workers count together.
    """

    numbers: Mapping[str, int]
    memory: WorkerMemory

    def endpoint(self, reactor: Any, name: str, text: str) -> Any:
        """
        Return the server endpoint ``text`` on the socket of the listener ``name``.

        :raises StartFailed: there is none.
        """
        if name not in self.numbers:
            text = f"the listener {name} was added after the relay had started: stop and start the relay"
            raise StartFailed(text, UNAVAILABLE)
        # systemd has given its sockets to another process.
        text = re.sub(r"\bsystemd:.*", "tcp:0", text)
        return make_endpoint(
            _InheritingReactor(reactor, self.numbers[name], partial(self.memory.is_ahead, name)), text
        )


class _InheritingReactor:
    """A reactor on which everything listens on one socket, which is open already."""

    def __init__(self, reactor: Any, number: int, is_ahead: Callable[[], bool]) -> None:
        self._reactor = reactor
        self._number = number
        self._is_ahead = is_ahead

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, _port: int, factory: Any, **_: object) -> IListeningPort:  # noqa: N802 -- Twisted's
        return self._adopt(factory)

    def listenSSL(self, _port: int, factory: Any, contextFactory: Any, **_: object) -> IListeningPort:  # noqa: N802, N803 -- Twisted's
        return self._adopt(TLSMemoryBIOFactory(contextFactory, False, factory, self._reactor))

    def listenUNIX(self, _address: str, factory: Any, **_: object) -> IListeningPort:  # noqa: N802 -- Twisted's
        return self._adopt(factory)

    def _adopt(self, factory: Any) -> IListeningPort:
        inherited = socket.socket(fileno=os.dup(self._number))
        kind = _UnixPort if inherited.family == socket.AF_UNIX else _SharedPort
        # Twisted changes and removes the file of a UNIX socket whose name is not abstract: it is not ours.
        place: Any = b"\0inherited" if kind is _UnixPort else 0
        port: Any = kind(place, factory, reactor=self._reactor)
        port._preexistingSocket = inherited  # noqa: SLF001 -- what adoptStreamPort sets, which makes other ports
        port.is_ahead = self._is_ahead
        port.startListening()
        return cast(IListeningPort, port)


class _SharedPort(tcp.Port):
    """
    A port on a socket that other workers accept from, too: each takes its part of the clients.

    A worker with more clients than the others lets them accept for a moment, and takes one client at a time:
    Twisted would accept a hundred at once.

    :ivar is_ahead: tells whether this worker has more clients than the others.
    """

    numberAccepts = property(lambda _: 1, lambda _, _count: None)  # noqa: N815 -- Twisted's
    reactor: Any
    is_ahead: Callable[[], bool]
    _has_waited = False

    def doRead(self) -> None:  # noqa: N802 -- Twisted's
        """Accept a client, or leave it to others."""
        self._has_waited = not self._has_waited and self.is_ahead()
        if self._has_waited:
            self.stopReading()
            self.reactor.callLater(_YIELD_TIME, self._read_again)
        else:
            super().doRead()

    def _read_again(self) -> None:
        if self.connected:
            self.startReading()


class _UnixPort(_SharedPort, unix.Port):
    """Such a port on a UNIX socket."""


def make_endpoint(reactor: Any, text: str) -> Any:
    """Return the server endpoint ``text``; raises :class:`StartFailed` if Twisted makes none of it here."""
    try:
        made = serverFromString(reactor, text)
    except Exception as error:
        raise StartFailed(f"{text}: {reason(text, error)}", CONFIG) from error
    if isinstance(made, AdoptedStreamServerEndpoint):
        with socket.socket(fileno=os.dup(made.fileno)) as passed:
            if (passed.family == socket.AF_UNIX) != (made.addressFamily == socket.AF_UNIX):
                raise StartFailed(f"{text}: the socket is of the domain {passed.family.name[3:]}", CONFIG)
    return made


def described(listener: Listener, port: Any) -> Mapping[str, Any]:
    """Return a listener that is open as a JSON object."""
    address = address_text(port.getHost())
    return {"name": listener.name, "endpoint": listener.endpoint, "address": address}


def addresses_line(addresses: Mapping[str, Any]) -> str:
    """Return where a relay listens, in one line."""
    return ", ".join(f"{name} on {address_text(address)}" for name, address in addresses.items())


def address_text(address: Any) -> str:
    """Return an address of Twisted's as people write it."""
    host = getattr(address, "host", None)
    if host is None:
        name = getattr(address, "name", "")
        return name.decode() if isinstance(name, bytes) else str(name)
    return host_and_port(host, address.port)
