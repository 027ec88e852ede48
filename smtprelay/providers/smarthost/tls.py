"""How an SMTP client of ours speaks TLS to a server: whom it trusts, and what it checks."""

from typing import Any

from OpenSSL.SSL import Connection
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, optionsForClientTLS
from zope.interface import implementer

from smtprelay.net.trust import trust_root


def tls_creator(host: str, *, verify: bool = True, ca: str = "") -> IOpenSSLClientConnectionCreator:
    """
    Return what makes TLS connections to ``host``.

    :param verify: whether the certificate must be valid for ``host``.
    :param ca: a PEM file of certificates to trust besides the platform's.
    :raises OpenSSL.SSL.Error: if ``ca`` cannot be read or holds no certificate.
    """
    if not verify:
        return Unverified(host)
    return optionsForClientTLS(host, trust_root(ca))


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
