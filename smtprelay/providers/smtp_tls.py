"""How an SMTP client of ours speaks TLS to a server: whom it trusts, and what it checks."""

from typing import Any

from OpenSSL.SSL import Connection, Context
from twisted.internet._sslverify import IOpenSSLTrustRoot
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, optionsForClientTLS, platformTrust
from zope.interface import implementer


def tls_creator(host: str, *, verify: bool = True, ca: str = "") -> IOpenSSLClientConnectionCreator:
    """
    Return what makes TLS connections to ``host``.

    :param verify: whether the certificate must be valid for ``host``.
    :param ca: a PEM file of certificates to trust besides the platform's.
    :raises OpenSSL.SSL.Error: if ``ca`` cannot be read or holds no certificate.
    """
    if not verify:
        return Unverified(host)
    return optionsForClientTLS(host, PlatformAnd(ca) if ca else platformTrust())


@implementer(IOpenSSLTrustRoot)
class PlatformAnd:
    """The platform's trust and one more file, for servers with an authority of their own."""

    def __init__(self, ca: str) -> None:
        self._ca = ca
        # Once for nothing, so that a bad file is found at start and not at the first mail.
        self._addCACertsToContext(CertificateOptions().getContext())

    def _addCACertsToContext(self, context: Context) -> None:  # noqa: N802 -- called by Twisted
        context.set_default_verify_paths()
        context.load_verify_locations(self._ca)


@implementer(IOpenSSLClientConnectionCreator)
class Unverified:
    """TLS with whoever answers: good against listeners on the wire, not against impostors."""

    def __init__(self, host: str) -> None:
        self._name = b"" if isIPAddress(host) or isIPv6Address(host) else host.encode("idna")
        self._context = CertificateOptions().getContext()

    def clientConnectionForTLS(self, _protocol: Any) -> Connection:  # noqa: N802 -- called by Twisted
        """Return a new connection."""
        connection = Connection(self._context, None)
        if self._name:
            connection.set_tlsext_host_name(self._name)
        return connection
