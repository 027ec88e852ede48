"""
Connections through an HTTP proxy: it is asked for a tunnel (CONNECT, RFC 9110 §9.3.6), in which TLS begins.

The proxy sees where a tunnel leads, and nothing of what is in it.
"""

import re
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from smtprelay.net.outbound import HttpProxy
from smtprelay.net.reachability import connection_end, silence
from smtprelay.net.tls_client import unreached

#: An answer to CONNECT with a longer header is none.
MAX_HEAD: Final = 16 * 1024

_END: Final = re.compile(rb"\r?\n\r?\n")
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: ([ -~]{0,80})[^\n]*)?\r?\n")
_OFFERS: Final = re.compile(rb"^proxy-authenticate:[ \t]*([\w-]+)(.*)", re.IGNORECASE | re.MULTILINE)
_SUCCESS: Final = range(200, 300)
_LOGIN_REQUIRED: Final = 407


class ProxyError(Exception):
    """The proxy made no tunnel; ``str()`` says why, with its host and port."""


class ProxyLoginError(ProxyError):
    """It wants a login, or another one."""


@implementer(IStreamClientEndpoint)
class ProxyEndpoint:
    """
    An endpoint whose connections go through a proxy.

    :param endpoint: leads to the proxy.
    :param target: where its tunnels lead: host and port.
    :param timeout: seconds until there is a tunnel.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        proxy: HttpProxy,
        target: str,
        clock: IReactorTime,
        timeout: float,
    ) -> None:
        self._endpoint = endpoint
        self._proxy = proxy
        self._target = target
        self._clock = clock
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":  # noqa: N803
        """Connect; fires when the tunnel is there, fails with :class:`ProxyError`."""
        connected: Deferred[Any] = self._endpoint.connect(_TunnelFactory(protocolFactory, self))
        connected.addErrback(self._unreached).addCallback(_Tunnel.open)
        return connected.addTimeout(self._timeout, self._clock)

    def request(self) -> bytes:
        """Return the request for a tunnel."""
        login = self._proxy.authorization
        lines = [f"CONNECT {self._target} HTTP/1.1", f"Host: {self._target}"]
        lines += [f"Proxy-Authorization: {login}"] if login else []
        return "\r\n".join([*lines, "", ""]).encode("ascii")

    def refusal(self, head: bytes) -> ProxyError | None:
        """Return what the header of an answer means; ``None``: there is a tunnel."""
        status = _STATUS.match(head)
        if status is None:
            return ProxyError(f"what answers at the proxy {self._proxy} does not speak HTTP")
        if int(status[1]) in _SUCCESS:
            return None
        if int(status[1]) == _LOGIN_REQUIRED:
            return ProxyLoginError(self._login_required(head))
        words = " ".join(part.decode("ascii").strip() for part in status.groups(b"")).strip()
        return ProxyError(f"the proxy {self._proxy} makes no tunnel to {self._target}: {words}")

    def broken_off(self, reason: str) -> ProxyError:
        """Return that there is no answer, and why."""
        return ProxyError(f"no answer to CONNECT from the proxy {self._proxy}: {reason}")

    def too_late(self) -> ProxyError:
        """Return that there is no answer in time."""
        return ProxyError(f"{silence('CONNECT', f'the proxy {self._proxy}')} within {self._timeout:g} s")

    def _login_required(self, head: bytes) -> str:
        offers = _OFFERS.findall(head)
        if offers and not re.search(rb"\bbasic\b", b" ".join(map(b"".join, offers)), re.IGNORECASE):
            known = ", ".join(sorted({scheme.decode("ascii") for scheme, _ in offers}))
            return f"the proxy {self._proxy} wants a login by {known}; the relay has Basic only (407)"
        if self._proxy.user:
            return f"the proxy {self._proxy} refuses our login (407)"
        return f"the proxy {self._proxy} wants a login (407): set proxy: http://USER:PASSWORD@HOST:PORT"

    def _unreached(self, failure: Failure) -> Any:
        place, error = f"the proxy {self._proxy}", failure.value
        assert error is not None
        if isinstance(error, CancelledError | ConnectingCancelledError):
            raise ProxyError(f"{silence('connect', place)} within {self._timeout:g} s") from error
        raise ProxyError(unreached(error, place, self._timeout)[1]) from error


class _TunnelFactory(Factory):
    noisy = False

    def __init__(self, wrapped: IProtocolFactory, endpoint: ProxyEndpoint) -> None:
        self._wrapped = wrapped
        self._endpoint = endpoint

    def buildProtocol(self, addr: IAddress | None) -> "_Tunnel":
        """Return a connection to the proxy."""
        return _Tunnel(self._wrapped, self._endpoint, addr)


class _Tunnel(Protocol):
    """Asks for a tunnel, then passes everything on to what the factory builds for it."""

    # Twisted's transports have more methods than ITransport.
    transport: Any

    def __init__(self, factory: IProtocolFactory, endpoint: ProxyEndpoint, address: IAddress | None) -> None:
        self._factory = factory
        self._endpoint = endpoint
        self._address = address
        self._received = b""
        self._opened: Deferred[IProtocol] | None = None
        self._wrapped: Any = None

    def open(self) -> "Deferred[IProtocol]":
        """Ask for the tunnel; fires with the protocol in it."""
        opened = self._opened = Deferred(lambda _: self._fail(self._endpoint.too_late()))
        self.transport.write(self._endpoint.request())
        return opened

    def dataReceived(self, data: bytes) -> None:
        """Take the answer to CONNECT, then what comes through the tunnel."""
        if self._wrapped is not None:
            self._wrapped.dataReceived(data)
        elif self._opened is not None:
            self._received += data
            self._read_answer(self._opened)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Pass the loss on, or fail: there is no tunnel."""
        if self._wrapped is not None:
            self._wrapped.connectionLost(reason)
        else:
            self._fail(self._endpoint.broken_off(connection_end(reason.value)))

    def _read_answer(self, opened: "Deferred[IProtocol]") -> None:
        end = _END.search(self._received[:MAX_HEAD])
        if end is None:
            if len(self._received) >= MAX_HEAD:
                self._fail(self._endpoint.broken_off(f"its header has more than {MAX_HEAD} bytes"))
            return
        refusal = self._endpoint.refusal(self._received[: end.end()])
        if refusal is not None:
            self._fail(refusal)
            return
        rest = self._received[end.end() :]
        # A factory takes what it is given, though its annotation knows no ``None``.
        self._wrapped = self._factory.buildProtocol(self._address)  # type: ignore[arg-type]
        self._wrapped.makeConnection(self.transport)
        opened.callback(self._wrapped)
        if rest:
            self._wrapped.dataReceived(rest)

    def _fail(self, error: ProxyError) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            self.transport.abortConnection()
            opened.errback(error)
