"""
How botocore asks for credentials: as the provider's requests leave, and directly for instance metadata.

botocore itself would take one proxy for all hosts, and ``ca`` instead of the usual authorities.
"""

from collections.abc import Mapping
from functools import cache
from ssl import SSLContext
from typing import Any

from botocore.exceptions import ConnectTimeoutError, ProxyConnectionError
from botocore.httpsession import URLLib3Session

from smtprelay.http.client import NotSent, ProxyLoginFailed
from smtprelay.net.outbound import Outbound


def use_outbound(session: Any, outbound: Outbound) -> None:
    """
    Let the clients of a botocore session send as ``outbound`` says.

    They then raise :class:`NotSent` for what a proxy does; no text has its password.
    """
    authorities = session.get_config_variable("ca_bundle") or True

    @cache
    def http(**proxies: str) -> URLLib3Session:
        return _HttpSession(outbound, proxies, authorities)

    def send(request: Any, **_: Any) -> Any:
        proxies = outbound.proxies(request.url)
        try:
            return http(**proxies).send(request)
        except (ProxyConnectionError, ConnectTimeoutError) as error:
            if not proxies:
                raise
            raise _refusal(str(outbound.proxy), error.kwargs.get("error")) from None

    session.register("before-send", send)
    instance = session.get_component("credential_provider").get_provider("iam-role")
    # botocore would ask for metadata, too, by the proxy of the environment, and offers no other way.
    metadata = instance._role_fetcher  # noqa: SLF001
    metadata._session = URLLib3Session(timeout=metadata._timeout)  # noqa: SLF001


class _HttpSession(URLLib3Session):  # type: ignore[misc]  # botocore has no types
    """Trusts the authorities of a file besides the others."""

    def __init__(self, outbound: Outbound, proxies: Mapping[str, str], authorities: str | bool) -> None:
        self._ca = outbound.ca
        super().__init__(
            verify=authorities,
            proxies=proxies,
            proxies_config={"proxy_ca_bundle": self._ca} if self._ca else None,
            client_cert=outbound.client_certificate,
        )
        login = outbound.proxy.authorization if outbound.proxy else ""
        # botocore itself takes a login in ASCII only.
        self._proxy_config.proxy_headers_for = lambda _: {"Proxy-Authorization": login} if login else {}

    def _get_ssl_context(self) -> SSLContext:
        context: SSLContext = super()._get_ssl_context()
        if self._ca:
            context.load_verify_locations(self._ca)
        return context


def _refusal(proxy: str, error: object) -> NotSent:
    """Return why there is no connection through the proxy."""
    reason = str(getattr(error, "original_error", error))
    if "Tunnel connection failed: 407" in reason:
        return ProxyLoginFailed(f"no AWS credentials: the proxy {proxy} wants a login, or another one (407)")
    return NotSent(f"no AWS credentials: no connection through the proxy {proxy}: {reason}")
