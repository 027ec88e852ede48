"""
Whom our TLS clients trust, and who they say they are.

They trust the platform's authorities and, where the operator names one, those of a file.
"""

from pathlib import Path

from OpenSSL.SSL import Context
from twisted.internet._sslverify import IOpenSSLTrustRoot
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, optionsForClientTLS
from zope.interface import implementer

from smtprelay.net.certificate import use_certificate


@implementer(IOpenSSLTrustRoot)
class ClientTls:
    """
    Makes TLS connections that verify the server.

    :param ca: a PEM file of authorities to trust besides the platform's: a server's own, or that of a
        company's proxy; or ``""``.
    :param certificate: the PEM files of the certificate that we show, with its chain, and of its key.
    :raises OpenSSL.SSL.Error: if ``ca`` cannot be read or holds no certificate.
    :raises CertificateError: if ``certificate`` cannot be used.
    """

    def __init__(self, ca: str = "", certificate: tuple[str, str] | None = None) -> None:
        self._ca = ca
        self._certificate = certificate
        # Once for nothing, so that a bad file is found at start and not at the first mail.
        self.prepare(CertificateOptions().getContext())

    def creator(self, host: str) -> IOpenSSLClientConnectionCreator:
        """Return what makes connections to ``host``, whose certificate must be for it."""
        return optionsForClientTLS(host, self)

    def prepare(self, context: Context) -> None:
        """Let ``context`` trust the authorities and show the certificate."""
        context.set_default_verify_paths()
        if self._ca:
            context.load_verify_locations(self._ca)
        if self._certificate is not None:
            use_certificate(context, *map(Path, self._certificate))

    def _addCACertsToContext(self, context: Context) -> None:  # noqa: N802 -- called by Twisted
        self.prepare(context)
