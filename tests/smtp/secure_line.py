"""A client within TLS, in memory."""

from collections.abc import Callable, Iterable

from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from smtprelay.smtp.factory import ESMTPFactory
from smtprelay.testing.certificates import Certificate

#: More than a record of TLS.
_MOST = 1 << 16


def client_context(certificate: Certificate | None = None) -> SSL.Context:
    """Return the TLS of a client that trusts everybody, and may show a certificate."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if certificate is not None:
        context.use_certificate_chain_file(str(certificate.certificate))
        context.use_privatekey_file(str(certificate.key))
    return context


class SecureLine:
    """As :class:`tests.smtp.doubles.Line`, with implicit TLS."""

    def __init__(
        self,
        factory: ESMTPFactory,
        context: IOpenSSLContextFactory,
        client: SSL.Context,
        address: str = "192.0.2.7",
        *,
        session: SSL.Session | None = None,
        wanted: bytes = b"",
    ) -> None:
        self.clock = factory.clock
        self.lost = self.said_goodbye = False
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", address, 4321))
        wrapper = TLSMemoryBIOFactory(context, False, factory, self.clock)
        wrapper.noisy = False
        self.server = wrapper.buildProtocol(self.transport.getPeer())
        self.server.makeConnection(self.transport)
        self.end = SSL.Connection(client, None)
        self.end.set_connect_state()
        if wanted:
            self.end.set_tlsext_host_name(wanted)
        if session is not None:
            self.end.set_session(session)
        self.banner = self.heard()

    def send(self, octets: bytes) -> list[str]:
        """Send ``octets``; return the lines of the replies."""
        self.end.sendall(octets)
        return self.heard()

    def send_all(self, segments: Iterable[bytes]) -> list[str]:
        """Send segments, each in a record of its own, and read what is answered."""
        for octets in segments:
            if octets:
                self.end.sendall(octets)
        return self.heard()

    def say(self, *lines: str) -> list[str]:
        """Send ``lines`` in one segment; return the lines of the replies."""
        return self.send("".join(f"{line}\r\n" for line in lines).encode())

    def heard(self) -> list[str]:
        """Return what the server has said, when both ends have nothing more to say."""
        heard = b""
        while True:
            self._step(self.end.do_handshake)
            sent = self._step(lambda: self.end.bio_read(_MOST))
            if sent and not self.lost:
                self.server.dataReceived(sent)
            self.clock.advance(0)
            octets = self.transport.value()
            self.transport.clear()
            if octets:
                self.end.bio_write(octets)
            if (self.transport.disconnecting or self.transport.disconnected) and not self.lost:
                self.lost = True
                self.server.connectionLost(Failure(ConnectionDone()))
            while more := self._step(lambda: self.end.recv(_MOST)):
                heard += more
            if not (sent or octets):
                return heard.decode("ascii").splitlines()

    def _step(self, step: Callable[[], bytes | None]) -> bytes:
        try:
            return step() or b""
        except SSL.ZeroReturnError:
            self.said_goodbye = True
        except SSL.WantReadError:
            pass
        return b""

    @property
    def closed(self) -> bool:
        """The server has closed the connection."""
        return self.said_goodbye or self.transport.disconnecting or self.transport.disconnected
