import ssl
import stat
from pathlib import Path

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.testing.certificates import make_certificate


class CertificateTests(SynchronousTestCase):
    def names(self, hostname: str) -> list[str]:
        """Return what a certificate for ``hostname`` is good for."""
        made = make_certificate(self.mktemp(), hostname)
        certificate = x509.load_pem_x509_certificate(made.certificate.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [str(name.value) for name in names]

    def test_names(self) -> None:
        """A certificate is for its host, name or address; localhost is also its addresses."""
        self.assertEqual(self.names("mx.example.com"), ["mx.example.com"])
        self.assertEqual(self.names("192.0.2.1"), ["192.0.2.1"])
        self.assertEqual(self.names("localhost"), ["localhost", "127.0.0.1", "::1"])

    def test_verified(self) -> None:
        """Whoever trusts its authority, and only that, believes the certificate."""
        made, other = make_certificate(self.mktemp()), make_certificate(self.mktemp())
        self.assertIn("TLS", handshake(made.certificate, made.key, made.ca))
        self.assertRaises(ssl.SSLCertVerificationError, handshake, made.certificate, made.key, other.ca)

    def test_key_is_private(self) -> None:
        """Nobody else can read the key."""
        made = make_certificate(self.mktemp())
        self.assertEqual(stat.S_IMODE(made.key.stat().st_mode), 0o600)


def handshake(certificate: Path, key: Path, ca: Path) -> str:
    """Speak TLS in memory and return the version."""
    at_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    at_server.load_cert_chain(certificate, key)
    at_client = ssl.create_default_context(cafile=str(ca))
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = at_server.wrap_bio(up, down, server_side=True)
    client = at_client.wrap_bio(down, up, server_hostname="localhost")
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client.version() or ""
