"""The TLS of our clients: whom it trusts, and the certificate that it shows."""

import contextlib
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.net.certificate import CertificateError
from smtprelay.net.outbound import Outbound
from smtprelay.net.trust import ClientTls
from smtprelay.providers.smarthost.tls import tls_creator
from smtprelay.testing.certificates import Certificate, make_certificate


class ClientTlsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server, self.ours = (
            make_certificate(self.mktemp(), name) for name in ("mail.example.com", "relay.example.com")
        )
        self.shown = (str(self.ours.certificate), str(self.ours.key))

    def test_certificate(self) -> None:
        """A server that asks for a certificate gets it, also one that is itself not verified."""
        ca = str(self.server.ca)
        outbound = Outbound(ca=ca, client_certificate=self.shown)
        for creator in (
            ClientTls(ca, self.shown).creator("mail.example.com"),
            tls_creator("mail.example.com", outbound),
            tls_creator("other.example.com", outbound, verify=False),
        ):
            self.assertEqual(subject(shaken(creator, self.server, self.ours.ca)), "CN=relay.example.com")
        self.assertRaises(
            SSL.Error, shaken, ClientTls(ca).creator("mail.example.com"), self.server, self.ours.ca
        )

    def test_unusable(self) -> None:
        """Files that cannot be used are found at once, and named."""
        for certificate, key, why in (
            (self.ours.certificate, self.server.key, f"{self.server.key}: the key does not belong"),
            (self.ours.key, self.ours.key, f"{self.ours.key}: no certificate"),
            (self.ours.certificate, self.ours.certificate, f"{self.ours.certificate}: no private key"),
            (Path("/nope.pem"), self.ours.key, "/nope.pem: No such file"),
        ):
            error = self.assertRaises(CertificateError, ClientTls, "", (str(certificate), str(key)))
            self.assertIn(why, str(error))


def shaken(creator: Any, server: Certificate, clients: Path) -> SSL.Connection:
    """Return the server's side of a connection after the handshake; it asks for a certificate."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_file(str(server.certificate))
    context.use_privatekey_file(str(server.key))
    context.load_verify_locations(str(clients))
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    client = TLSMemoryBIOFactory(creator, True, Factory.forProtocol(Protocol)).buildProtocol(None)
    there, here = SSL.Connection(context, None), creator.clientConnectionForTLS(client)
    there.set_accept_state()
    here.set_connect_state()
    for _ in range(4):
        for one, other in ((here, there), (there, here)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(1 << 16))
    return there


def subject(connection: SSL.Connection) -> str:
    """Return the name in the certificate of the other side."""
    certificate = connection.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    return certificate.subject.rfc4514_string()
