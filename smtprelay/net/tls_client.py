"""
Connections by TLS that are usable once it is up, and why connections fail, in words.

Twisted's own agent hands out a TLS connection before its handshake, so a certificate that is not trusted
would look like an answer lost after the request was sent.
"""

from typing import Any, Final

from OpenSSL.SSL import Error as TLSError
from service_identity import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.error import SchemeNotSupported
from zope.interface import implementer

from smtprelay.net.reachability import connection_end, silence


class HandshakeTimeout(ConnectTimeout):
    """TLS did not come up in time."""


#: Where a connection that was never made got to, by what it failed with; the first that fits.
_STAGES: Final = (
    (DNSLookupError, "resolve"),
    ((HandshakeTimeout, TLSError, VerificationError), "TLS"),
    ((ConnectError, OSError, SchemeNotSupported), "connect"),
)


def unreached(error: BaseException, where: str, seconds: float, stage: str = "request") -> tuple[str, str]:
    """
    Say at which stage, and of what, a connection to ``where`` failed, in one line.

    :param seconds: how long it was waited for.
    :param stage: where it was, if the error does not say that.
    """
    if isinstance(error, ConnectTimeout | TookTooLong) and not isinstance(error, HandshakeTimeout):
        return "connect", f"{silence('connect', where)} within {seconds:g} s"
    stage = next((each for kind, each in _STAGES if isinstance(error, kind)), stage)
    reason = " ".join(tls_words(Failure(error)).split()) or type(error).__name__
    return stage, f"{stage} at {where}: {reason}"


def tls_words(reason: Failure) -> str:
    """Say why a connection ended; OpenSSL puts its words into a list of tuples."""
    error = reason.value
    if isinstance(error, TLSError) and error.args and isinstance(error.args[0], list):
        return untrusted_words("; ".join(str(entry[-1]) for entry in error.args[0]))
    if isinstance(error, VerificationError):
        return "the certificate is not for this host"
    return connection_end(error)


def untrusted_words(text: str, setting: str = "ca") -> str:
    """Return ``text``; if it says that a certificate is not trusted with the setting that lets it in."""
    if "certificate verify failed" not in text.lower():
        return text
    return f"{text} (if that is the right server, name the authority of its certificate in {setting})"


@implementer(IStreamClientEndpoint)
class AfterHandshake:
    """A TLS endpoint whose ``connect`` fires when the peer's certificate has been verified."""

    def __init__(self, endpoint: IStreamClientEndpoint, clock: IReactorTime, timeout: float) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":  # noqa: N803
        """Connect; fails with what ended the connection if the handshake does not succeed."""
        connected = self._endpoint.connect(_HandshakeFactory(protocolFactory))
        return connected.addCallback(self._wait)

    def _wait(self, waiting: Any) -> "Deferred[IProtocol]":
        def too_slow(_cancelled: Any, seconds: float) -> Any:
            raise HandshakeTimeout(string=f"no handshake within {seconds:g} s")

        done: Deferred[IProtocol] = waiting.done
        return done.addTimeout(self._timeout, self._clock, onTimeoutCancel=too_slow)


class _HandshakeFactory(Factory):
    noisy = False

    def __init__(self, wrapped: IProtocolFactory) -> None:
        self._wrapped = wrapped

    def buildProtocol(self, addr: IAddress | None) -> "_Handshaking":
        """Wrap what the factory builds."""
        # A factory takes what it is given, though its annotation knows no ``None``.
        wrapped = self._wrapped.buildProtocol(addr)  # type: ignore[arg-type]
        assert wrapped is not None
        return _Handshaking(wrapped)


@implementer(IHandshakeListener)
class _Handshaking(Protocol):
    """Passes everything on to ``wrapped``, and tells by ``done`` when TLS is up."""

    def __init__(self, wrapped: IProtocol) -> None:
        self._wrapped = wrapped
        self.done: Deferred[IProtocol] = Deferred(self._give_up)

    def _give_up(self, _cancelled: object) -> None:
        transport: Any = self.transport
        transport.abortConnection()

    def connectionMade(self) -> None:
        """Hand the transport on."""
        assert self.transport is not None
        self._wrapped.makeConnection(self.transport)

    def handshakeCompleted(self) -> None:
        """Give the connection out, if the certificate is good."""
        transport: Any = self.transport
        # Before 26.4 Twisted completes the handshake with a server of another name, and aborts.
        if not transport.disconnecting:
            self.done.callback(self._wrapped)

    def dataReceived(self, data: bytes) -> None:
        """Pass the octets to the protocol."""
        self._wrapped.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Pass the loss to the protocol, and fail those who wait for the handshake."""
        self._wrapped.connectionLost(reason)
        if not self.done.called:
            self.done.errback(reason)
