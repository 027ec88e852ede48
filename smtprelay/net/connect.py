"""
Connections to providers: in clear text only to this machine, else by TLS, perhaps through a proxy.
"""

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.error import SchemeNotSupported

from smtprelay.model.network import host_and_port, is_loopback
from smtprelay.net.http_proxy import ProxyEndpoint
from smtprelay.net.outbound import DIRECT, HttpProxy, Outbound
from smtprelay.net.tls_client import AfterHandshake
from smtprelay.net.trust import ClientTls

#: Makes the endpoint for ``(scheme, host, port)``; raises :class:`SchemeNotSupported`.
Connect = Callable[[str, str, int], IStreamClientEndpoint]


def connect_by_name(reactor: Any, *, timeout: float, outbound: Outbound = DIRECT) -> Connect:
    """
    Return the :data:`Connect` for real networks.

    ``http`` is for loopback only; ``https`` verifies the host's name, also through a proxy.

    :param timeout: seconds for a TCP connection, for a proxy's tunnel, and for each TLS handshake.
    :raises OpenSSL.SSL.Error: if a file of ``outbound`` cannot be used.
    """
    tls = ClientTls(outbound.ca, outbound.client_certificate)
    # The certificate is for the server, not for the proxy on the way.
    by_proxy = ClientTls(outbound.ca) if outbound.proxy and outbound.proxy.scheme == "https" else tls

    def secure(endpoint: IStreamClientEndpoint, host: str, trust: ClientTls) -> IStreamClientEndpoint:
        return AfterHandshake(wrapClientTLS(trust.creator(host), endpoint), reactor, timeout)

    def direct(host: str, port: int) -> IStreamClientEndpoint:
        return cast(IStreamClientEndpoint, HostnameEndpoint(reactor, host, port, timeout=timeout))

    def tunnel(proxy: HttpProxy, target: str) -> IStreamClientEndpoint:
        endpoint = direct(proxy.host, proxy.port)
        if proxy.scheme == "https":
            endpoint = secure(endpoint, proxy.host, by_proxy)
        return ProxyEndpoint(endpoint, proxy, target, reactor, timeout)

    def connect(scheme: str, host: str, port: int) -> IStreamClientEndpoint:
        if scheme == "http" and not is_loopback(host):
            raise SchemeNotSupported(f"plain http is allowed on loopback only, not for {host}")
        if scheme not in ("http", "https"):
            raise SchemeNotSupported(f"neither http nor https: {scheme}")
        if scheme == "http":
            return direct(host, port)
        proxy = outbound.proxy_for(host, port)
        endpoint = direct(host, port) if proxy is None else tunnel(proxy, host_and_port(host, port))
        return secure(endpoint, host, tls)

    return connect
