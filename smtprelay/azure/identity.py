"""
Tokens by azure-identity: of a certificate, of a managed identity, of a workload.

Each call blocks, so it is made on a thread. Importing this module loads azure-identity and msal.
"""

import logging
import re
import ssl
import time
from collections.abc import Mapping
from typing import Any, Final

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import (
    CertificateCredential,
    CredentialUnavailableError,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from requests import Session
from requests.adapters import HTTPAdapter

from smtprelay.azure.application import EntraApplication
from smtprelay.azure.errors import ENTRA_ERRORS
from smtprelay.http.client import NotSent
from smtprelay.http.oauth import no_token
from smtprelay.net.outbound import Outbound

# They tell more of what they send than a log should keep; what fails is raised, too.
for _name in ("azure", "msal"):
    logging.getLogger(_name).setLevel(logging.ERROR)

#: In what azure-identity says: Entra's words, a metadata service's, the status of an answer without any.
_ENTRA: Final = re.compile(r"()(AADSTS[0-9]+: .*)")
_METADATA: Final = re.compile(r"Token request error: \((\w+)\) (.*)")
_STATUS: Final = re.compile(r"HTTP Error: ([0-9]{3})")
_BAD_REQUEST: Final = 400
_SILENCE: Final = (ServiceRequestError, ServiceResponseError)
#: Maximum length of its words in a reason.
_REPEATED: Final = 500


def obtain_token(
    application: EntraApplication, scope: str, outbound: Outbound, timeout: float
) -> tuple[str, float]:
    """
    Return a new token, and the seconds that it lives.

    :raises NoTokenError: it is refused.
    :raises NotSent: nobody answers.
    :raises ValueError: the certificate, or the workload's token, cannot be read.
    """
    try:
        with _credential(application, outbound, timeout) as credential:
            found = credential.get_token(scope)
    except ClientAuthenticationError as error:
        raise _refusal(error) from None
    except AzureError as error:
        raise NotSent(f"no token: {_words(error)}") from None
    return found.token, found.expires_on - time.time()


def _credential(application: EntraApplication, outbound: Outbound, timeout: float) -> Any:
    """Return what azure-identity has for an application; it keeps nothing, as we do that."""
    asked: dict[str, Any] = {"connection_timeout": timeout, "read_timeout": timeout}
    if application.credential == "managed_identity":
        # It is this machine that answers, or a service beside it: never through a proxy.
        transport = RequestsTransport(session=_session(), session_owner=True, use_env_settings=False)
        return ManagedIdentityCredential(
            client_id=application.client_id or None,
            transport=transport,
            read_timeout=timeout,
        )
    session = _session(outbound.ca, outbound.proxies(application.authority))
    asked["transport"] = RequestsTransport(
        session=session, session_owner=True, use_env_settings=False, **asked
    )
    # We try again ourselves, and meanwhile mail goes on with the token before.
    asked |= {"retry_total": 0, "authority": application.authority}
    if application.credential == "workload":
        return WorkloadIdentityCredential(
            tenant_id=application.tenant or None, client_id=application.client_id or None, **asked
        )
    password = application.read_secret() if application.read_secret is not None else None
    return CertificateCredential(
        application.tenant,
        application.client_id,
        application.certificate,
        password=password,
        send_certificate_chain=True,
        # It would ask Microsoft's own cloud whether the authority is one; that stands in our configuration.
        disable_instance_discovery=True,
        **asked,
    )


class _TrustingTransport(HTTPAdapter):
    """Trusts the authorities of a file besides the others."""

    def __init__(self, ca: str) -> None:
        self._context = ssl.create_default_context()
        self._context.load_verify_locations(ca)
        super().__init__()

    def init_poolmanager(self, *given: Any, **more: Any) -> Any:
        """Connect so."""
        return super().init_poolmanager(*given, ssl_context=self._context, **more)

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        """Connect so through a proxy."""
        return super().proxy_manager_for(proxy, ssl_context=self._context, **more)


def _session(ca: str = "", proxies: Mapping[str, str] | None = None) -> Session:
    session = Session()
    session.trust_env = False
    session.proxies = dict(proxies or {})
    if ca:
        session.mount("https://", _TrustingTransport(ca))
    return session


def _refusal(error: ClientAuthenticationError) -> NotSent:
    """Return what a refusal means, by Entra's number where there is one."""
    said = _words(error)
    if found := _ENTRA.search(said) or _METADATA.search(said):
        return no_token(ENTRA_ERRORS, error.status_code or _BAD_REQUEST, found[1], found[2])
    # It wraps what it gets no answer for as a refusal.
    if isinstance(error, CredentialUnavailableError) or isinstance(error.__cause__, _SILENCE):
        return NotSent(f"no token: {said}")
    status = _STATUS.search(said)
    return no_token(ENTRA_ERRORS, int(status[1]) if status else error.status_code or _BAD_REQUEST, "", said)


def _words(error: Exception) -> str:
    return " ".join(str(getattr(error, "message", "") or error).split())[:_REPEATED]
