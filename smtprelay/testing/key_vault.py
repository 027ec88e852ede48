"""
A fake of Azure Key Vault: its secrets, and certificates as the secrets of the same name.

``azure-keyvault-secrets`` and ``azure-keyvault-certificates`` pass against it, unchanged, over TLS and with
the fake of Entra.
"""

import base64
import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field, frozen
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, load_pem_private_key, pkcs12
from cryptography.x509 import load_pem_x509_certificates
from twisted.web.resource import Resource
from twisted.web.server import Request

_PATH: Final = re.compile(r"/(secrets|certificates)/([0-9A-Za-z-]+)(?:/([0-9a-f]*))?/?")
_VERSIONS: Final = frozenset({"7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"})


@frozen
class KeyVaultRefuses(Exception):  # noqa: N818 -- what it does
    """Answer so."""

    status: int
    code: str = ""
    text: str = ""
    inner: str = ""
    headers: Mapping[str, str] = field(factory=dict)


@define
class StoredSecret:
    """
    One secret.

    :ivar values: of each version, the newest last; a version is its number in 32 hexadecimal digits.
    :ivar certificate: PEM; ``b""``: it is no certificate.
    """

    values: list[str]
    content_type: str = "text/plain"
    certificate: bytes = b""


class FakeKeyVault(Resource):
    """
    One vault.

    :param takes: tells whether a token is valid.
    :param authority: the URL of the tenant at Entra, which a request without a token is told.
    :ivar secrets: by name.
    :ivar asked: the paths that were asked for with a token.
    """

    isLeaf = True

    def __init__(self, takes: Callable[[str], bool], authority: str = "https://login.test/t") -> None:
        super().__init__()
        self.secrets: dict[str, StoredSecret] = {}
        self.asked: list[str] = []
        self._takes = takes
        self._authority = authority
        self._script: deque[KeyVaultRefuses] = deque()

    def script(self, *acts: KeyVaultRefuses) -> None:
        """Answer the next requests that have a token so."""
        self._script.extend(acts)

    def put(self, name: str, value: str) -> None:
        """Have a new version of a secret."""
        self.secrets.setdefault(name, StoredSecret([])).values.append(value)

    def put_certificate(self, name: str, key: bytes, certificates: bytes) -> None:
        """Have a certificate, of PEM: the server's, then its chain; as PKCS#12 without a password."""
        leaf, *chain = load_pem_x509_certificates(certificates)
        private: Any = load_pem_private_key(key, None)
        content = pkcs12.serialize_key_and_certificates(name.encode(), private, leaf, chain, NoEncryption())
        stored = self.secrets.setdefault(name, StoredSecret([], "application/x-pkcs12"))
        stored.values.append(base64.b64encode(content).decode())
        stored.certificate = leaf.public_bytes(Encoding.PEM)

    def render(self, request: Request) -> bytes:
        """Answer one request."""
        request.setHeader("Content-Type", "application/json; charset=utf-8")
        try:
            return json.dumps(self._answer(request)).encode()
        except KeyVaultRefuses as refusal:
            request.setResponseCode(refusal.status)
            for name, value in refusal.headers.items():
                request.setHeader(name, value)
            inner = {"innererror": {"code": refusal.inner}} if refusal.inner else {}
            return json.dumps({"error": {"code": refusal.code, "message": refusal.text, **inner}}).encode()

    def _answer(self, request: Request) -> Mapping[str, Any]:
        scheme, _, token = (request.getHeader("Authorization") or "").partition(" ")
        if scheme != "Bearer" or not self._takes(token):
            challenge = f'Bearer authorization="{self._authority}", resource="https://vault.azure.net"'
            text = "AKV10000: Request is missing a Bearer or PoP token, or it is not valid."
            raise KeyVaultRefuses(401, "Unauthorized", text, headers={"WWW-Authenticate": challenge})
        path = request.path.decode("ascii")
        self.asked.append(path)
        if self._script:
            raise self._script.popleft()
        if (request.args or {}).get(b"api-version", [b""])[0].decode() not in _VERSIONS:
            raise KeyVaultRefuses(400, "BadParameter", "The specified version is not recognized.")
        found = _PATH.fullmatch(path)
        stored = self.secrets.get(found[2]) if found else None
        base = f"{'https' if request.isSecure() else 'http'}://{request.getHeader('Host')}"
        if found is None or stored is None or (found[1] == "certificates" and not stored.certificate):
            kind = "Certificate" if found and found[1] == "certificates" else "Secret"
            text = f"A {kind.lower()} with (name/id) {path} was not found in this key vault."
            raise KeyVaultRefuses(404, f"{kind}NotFound", text)
        number = int(found[3], 16) if found[3] else len(stored.values) - 1
        if number >= len(stored.values):
            raise KeyVaultRefuses(404, "SecretNotFound", f"{path} was not found in this key vault.")
        version = f"{found[2]}/{number:032x}"
        about = {"attributes": {"enabled": True, "created": 1, "updated": 1}, "tags": {}}
        if found[1] == "certificates":
            der = load_pem_x509_certificates(stored.certificate)[0].public_bytes(Encoding.DER)
            urls = {"id": f"{base}/certificates/{version}", "sid": f"{base}/secrets/{version}"}
            return {**urls, "cer": base64.b64encode(der).decode(), "policy": {}, **about}
        value = {"value": stored.values[number], "contentType": stored.content_type}
        return {**value, "id": f"{base}/secrets/{version}", **about}
