"""What both ends of a TLS connection have in common, seen from the other end."""

import contextlib
import ssl
from hashlib import sha256

from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.net.channel_binding import channel_bindings
from smtprelay.net.tls_server import ServerContext
from smtprelay.testing.certificates import make_certificate
from tests.recording import Recording


def connected(context: SSL.Context, newest: int) -> tuple[SSL.Connection, SSL.Connection]:
    """Return a server and a client after their handshake."""
    own = SSL.Context(SSL.TLS_CLIENT_METHOD)
    own.set_max_proto_version(newest)
    server, client = SSL.Connection(context, None), SSL.Connection(own, None)
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65_536))
    return server, client


class BindingTests(SynchronousTestCase):
    def setUp(self):
        self.files = make_certificate(self.mktemp())
        self.context = ServerContext([self.files.source], Clock(), Recording()).getContext()

    def test_bindings(self):
        """The client has the same; that of the connection with TLS 1.3 alone, and another one each time."""
        pem = self.files.certificate.read_text()
        end_point = sha256(ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END") + 25] + "\n")).digest()
        seen = set()
        for newest in (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION):
            server, client = connected(self.context, newest)
            found = dict(channel_bindings(server))
            self.assertEqual(found.pop("tls-server-end-point"), end_point)
            if newest == SSL.TLS1_3_VERSION:
                exported = found.pop("tls-exporter")
                self.assertEqual(
                    exported, client.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
                )
                seen.add(exported)
            self.assertEqual(found, {})
        self.assertEqual(len(seen), 2)
