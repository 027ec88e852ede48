"""
Whom our TLS clients trust: the platform's authorities and, where the operator names one, those of a file.
"""

from OpenSSL.SSL import Context
from twisted.internet._sslverify import IOpenSSLTrustRoot
from twisted.internet.ssl import CertificateOptions, platformTrust
from zope.interface import implementer


def trust_root(ca: str) -> IOpenSSLTrustRoot:
    """
    Return what to trust.

    :param ca: a PEM file of authorities to trust besides the platform's, or ``""``.
    :raises OpenSSL.SSL.Error: if ``ca`` cannot be read or holds no certificate.
    """
    return ExtraTrustRoot(ca) if ca else platformTrust()


@implementer(IOpenSSLTrustRoot)
class ExtraTrustRoot:
    """The platform's trust and one more file: a server's own authority, or that of a company's proxy."""

    def __init__(self, ca: str) -> None:
        self._ca = ca
        # Once for nothing, so that a bad file is found at start and not at the first mail.
        self._addCACertsToContext(CertificateOptions().getContext())

    def _addCACertsToContext(self, context: Context) -> None:  # noqa: N802 -- called by Twisted
        context.set_default_verify_paths()
        context.load_verify_locations(self._ca)
