"""
How botocore asks for credentials: as the provider's requests leave, and directly for instance metadata.

botocore itself would take one proxy for all hosts, and ``ca`` instead of the usual authorities.
"""

from collections.abc import Mapping
from functools import cache
from ssl import SSLContext
from subprocess import Popen, TimeoutExpired
from typing import Any, Final

from botocore.exceptions import (
    ConnectTimeoutError,
    CredentialRetrievalError,
    HTTPClientError,
    ProxyConnectionError,
)
from botocore.httpsession import URLLib3Session
from urllib3.exceptions import HTTPError

from smtprelay.http.client import NotSent, ProxyLoginFailed
from smtprelay.net.outbound import Outbound

#: More octets of an answer are not read.
_MAX_ANSWER: Final = 256 * 1024
#: Seconds that a ``credential_process`` may take.
_PROCESS_BOUND: Final = 60.0


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
    metadata._session = _BoundedSession(timeout=metadata._timeout)  # noqa: SLF001
    container = session.get_component("credential_provider").get_provider("container-role")._fetcher  # noqa: SLF001
    container._session = _BoundedSession(timeout=container.TIMEOUT_SECONDS)  # noqa: SLF001
    process = session.get_component("credential_provider").get_provider("custom-process")
    process._popen = BoundedProcess  # noqa: SLF001


class BoundedProcess(Popen[bytes]):
    """A ``credential_process`` that is ended if it does not end by itself."""

    def communicate(self, input: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:  # noqa: A002 -- as Popen has it
        """Return what it prints."""
        try:
            return super().communicate(input, timeout or _PROCESS_BOUND)
        except TimeoutExpired:
            with self:
                self.kill()
        # The text of the first one has the command, with what it is given.
        why = f"it has not ended within {_PROCESS_BOUND:g} s"
        raise CredentialRetrievalError(provider="credential_process", error_msg=why)


class _BoundedSession(URLLib3Session):  # type: ignore[misc]  # botocore has no types
    """Reads no answer that is larger than any with credentials."""

    def send(self, request: Any) -> Any:
        """Return the answer to a request; raises errors of botocore."""
        request.stream_output = True  # otherwise all of it is read first
        answer = super().send(request)
        body = b""
        try:
            for piece in answer.raw.stream(16 * 1024):
                body += piece
                if len(body) > _MAX_ANSWER:
                    answer.raw.close()
                    raise HTTPClientError(error="the answer is larger than any with credentials")
        except HTTPError as error:
            raise HTTPClientError(error=error) from error
        answer._content = body  # noqa: SLF001 -- botocore has no other way
        return answer


class _HttpSession(_BoundedSession):
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
