"""How an SMTP client of ours speaks TLS to a server: whom it trusts, and what it checks."""

from pathlib import Path
from typing import Any

from OpenSSL.SSL import Connection
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions
from zope.interface import implementer

from smtprelay.net.certificate import use_certificate
from smtprelay.net.outbound import Outbound
from smtprelay.net.trust import ClientTls


def tls_creator(host: str, outbound: Outbound, *, verify: bool = True) -> IOpenSSLClientConnectionCreator:
    """
    Return what makes TLS connections to ``host``.

    :param verify: whether the certificate must be valid for ``host``.
    :raises OpenSSL.SSL.Error: if the authorities of ``outbound`` are needed and cannot be used.
    :raises CertificateError: if its certificate cannot be used.
    """
    if verify:
        return ClientTls(outbound.ca, outbound.client_certificate).creator(host)
    return Unverified(host, outbound.client_certificate)


@implementer(IOpenSSLClientConnectionCreator)
class Unverified:
    """TLS with whoever answers: good against listeners on the wire, not against impostors."""

    def __init__(self, host: str, certificate: tuple[str, str] | None) -> None:
        self._name = b"" if isIPAddress(host) or isIPv6Address(host) else host.encode("idna")
        self._context = CertificateOptions().getContext()
        # No authorities: to load them takes a hundredth of a second for each server.
        if certificate is not None:
            use_certificate(self._context, *map(Path, certificate))

    def clientConnectionForTLS(self, _protocol: Any) -> Connection:  # noqa: N802 -- called by Twisted
        """Return a new connection."""
        connection = Connection(self._context, None)
        if self._name:
            connection.set_tlsext_host_name(self._name)
        return connection
