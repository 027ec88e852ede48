"""The fake of Entra on a socket with TLS, for SDKs, and what an application shows it."""

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import load_pem_x509_certificate
from twisted.internet import reactor, ssl
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from smtprelay.testing.certificates import Certificate, make_certificate
from smtprelay.testing.entra import FakeEntra
from tests.azure.joined_entra import CLIENT, SECRET, TENANT
from tests.providers.http_wiring import Server


def served_by_tls(test: TestCase, resource: Resource, certificate: Certificate) -> str:
    """Serve ``resource`` until the test ends; return its URL."""
    context = ssl.DefaultOpenSSLContextFactory(str(certificate.key), str(certificate.certificate))
    server = Server(Site(resource))
    port = reactor.listenSSL(0, server, context, interface="127.0.0.1")
    test.addCleanup(server.close)
    test.addCleanup(port.stopListening)
    return f"https://localhost:{port.getHost().port}"


def environment(test: TestCase, **variables: str | None) -> None:
    """Set variables until the test ends."""
    for name, value in variables.items():
        before = os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
        test.addCleanup(os.environ.update, {name: before} if before is not None else {})
        test.addCleanup(os.environ.pop, name, None)


class EntraServer:
    """
    The fake with one application: its secret, its certificate and the token of its workload.

    :ivar url: of Entra; ``metadata``: of the machine's metadata service, without TLS.
    :ivar certificate: its own; ``ca``: the file with the authority of that.
    :ivar pem: the application's certificate and key; ``pfx``: the same as PKCS#12 with a password.
    """

    def __init__(self, test: TestCase) -> None:
        folder = Path(test.mktemp())
        certificate = self.certificate = make_certificate(folder / "server")
        own = make_certificate(folder / "client", "application", old=True)
        self.fake = FakeEntra(reactor)
        self.ca = str(certificate.ca)
        self.url = served_by_tls(test, self.fake, certificate)
        server = Server(Site(self.fake))
        port = reactor.listenTCP(0, server, interface="127.0.0.1")
        test.addCleanup(server.close)
        test.addCleanup(port.stopListening)
        self.metadata = f"http://127.0.0.1:{port.getHost().port}"
        application = self.fake.application(TENANT, CLIENT)
        application.secrets[SECRET] = float("inf")
        application.certificates.append(own.certificate.read_bytes())
        application.federated.add("a.workload.token")
        self.pem, self.pfx, self.token = folder / "app.pem", folder / "app.pfx", folder / "token"
        self.pem.write_bytes(own.key.read_bytes() + own.certificate.read_bytes())
        self.pfx.write_bytes(_pkcs12(own, b"p4ss"))
        self.token.write_text("a.workload.token", "ascii")


def _pkcs12(own: Certificate, password: bytes) -> bytes:
    key = serialization.load_pem_private_key(own.key.read_bytes(), None)
    certificate = load_pem_x509_certificate(own.certificate.read_bytes())
    encryption = serialization.BestAvailableEncryption(password)
    return pkcs12.serialize_key_and_certificates(b"app", key, certificate, None, encryption)
