"""
Secrets and certificates in Azure Key Vault: read once ahead, and again by a timer.

A certificate with its key is the secret of the same name, in PKCS#12 or PEM: whoever reads it gets PEM.
"""

import base64
from collections.abc import Callable
from functools import partial
from typing import Final

from attrs import frozen
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from smtprelay.http.client import Http, NotSent, Response, request_once
from smtprelay.http.credentials import CredentialSource, call_with
from smtprelay.http.outcomes import HTTP, Classification, ErrorTable, json_object, text_in
from smtprelay.http.renewed import Credential
from smtprelay.interfaces import DeferToThread
from smtprelay.model.outcome import Blocked

_API: Final = "7.5"
_OK: Final = 200
_PKCS12: Final = "application/x-pkcs12"
_ERRORS: Final = ErrorTable(
    # What it does not know passes.
    meanings={**HTTP, 404: Classification.BLOCKED, 400: Classification.BLOCKED},
    advice={
        401: "check tenant, client_id and cloud of key_vault",
        403: "give the application the role Key Vault Secrets User, and let this network in",
        404: "there is no such secret, or it is deleted",
    },
)


@frozen
class KeyVaultReader:
    """
    Reads one secret: a :class:`smtprelay.http.renewed.CredentialService` of coroutines.

    :ivar url: of :func:`smtprelay.settings.entra.parse_secret_url`.
    :ivar token: gives tokens of Entra for Key Vault.
    :ivar open_http: makes the client of one request.
    :ivar seconds: gives the time, since the epoch.
    :ivar refresh: seconds until it is read again.
    """

    url: str
    token: CredentialSource[str]
    open_http: Callable[[], Http]
    defer_to_thread: DeferToThread
    seconds: Callable[[], float]
    refresh: float
    required_at_start: bool = True

    async def obtain(self, *, refused: bool) -> Credential[str]:  # noqa: ARG002 -- each reads it anew
        """
        Return what is in the vault now; of PKCS#12, key and certificates in PEM.

        :raises ValueError: it is refused, or cannot be used; the text is for people.
        :raises NoAnswerError: there is no token, or Key Vault does not answer, or not now.
        """
        answer = await call_with(self.token, self._get)
        found = json_object(answer.body)
        value = found.get("value")
        if answer.status != _OK or not isinstance(value, str):
            raise self._refusal(answer)
        text: str = value
        if found.get("contentType") == _PKCS12:
            text = await self.defer_to_thread(partial(pem_of, text))
        return Credential(text, None, self.url, renew=self.seconds() + self.refresh)

    async def revoke(self) -> None:
        """Do nothing: nothing was made for us."""

    async def _get(self, token: str) -> Response:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        return await request_once(self.open_http, "GET", f"{self.url}?api-version={_API}", headers)

    def _refusal(self, answer: Response) -> Exception:
        error = json_object(answer.body).get("error")
        said = error if isinstance(error, dict) else {}
        inner = said.get("innererror")
        code = text_in(inner if isinstance(inner, dict) else {}, "code") or text_in(said, "code")
        outcome = _ERRORS.outcome(answer.status, code, text_in(said, "message"))
        why = f"Key Vault {self.url}: {outcome.why}"
        return ValueError(why) if isinstance(outcome, Blocked) else NotSent(why)


def pem_of(text: str) -> str:
    """Return key, certificate and chain of PKCS#12 in base64 without a password; raises ``ValueError``."""
    try:
        key, certificate, chain = pkcs12.load_key_and_certificates(base64.b64decode(text), None)
    except ValueError as error:
        raise ValueError("the PKCS#12 in Key Vault cannot be read") from error
    if key is None or certificate is None:
        raise ValueError("the PKCS#12 in Key Vault lacks the key or the certificate: is the key exportable?")
    parts = [key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())]
    parts += [each.public_bytes(Encoding.PEM) for each in (certificate, *chain)]
    return b"".join(parts).decode("ascii").strip()
