"""
A fake of Microsoft Entra's token endpoint, and of what Azure's machines ask instead of it.

It knows applications with secrets, certificates and federated tokens, and answers as Entra does, with its
numbers, also what SDKs discover first. ``GET /metadata/identity/oauth2/token`` is the metadata service.
msal and azure-identity pass against it, unchanged.
"""

import base64
import json
import uuid
from collections import deque
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from attrs import define, field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

_JWT: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_METADATA: Final = "/metadata/identity/oauth2/token"
_PSS: Final = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
_PKCS1: Final = padding.PKCS1v15()


@frozen
class EntraRefuses(Exception):  # noqa: N818 -- what it does
    """
    Answer so.

    :ivar number: of AADSTS; 0: there is none.
    :ivar headers: besides, such as ``Retry-After``.
    """

    status: int
    error: str = "invalid_request"
    number: int = 0
    text: str = ""
    headers: Mapping[str, str] = field(factory=dict)


@frozen
class EntraSilence(Exception):  # noqa: N818 -- what it does
    """Never answer."""


@define
class FakeApplication:
    """
    An application of one tenant.

    :ivar secrets: when each ends, seconds since the epoch.
    :ivar certificates: PEM.
    :ivar federated: the tokens of workloads that it takes.
    """

    secrets: dict[str, float] = field(factory=dict)
    certificates: list[bytes] = field(factory=list)
    federated: set[str] = field(factory=set)


@frozen
class StoredToken:
    """A token: for whom, for which scope or resource, until when."""

    client_id: str
    scope: str
    expires: float


class FakeEntra(Resource):
    """
    Entra, and a machine's metadata service.

    :ivar tenants: by id or domain; their applications by client id.
    :ivar identities: the managed identities of the machine: ``""`` is the one that the system assigned.
    :ivar seconds: how long its tokens live.
    :ivar issued: all tokens.
    :ivar asked: the fields of each request for a token, without the secret.
    :ivar discovered: the paths of what was asked before.
    """

    isLeaf = True

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()
        self.tenants: dict[str, dict[str, FakeApplication]] = {}
        self.identities: set[str] = set()
        self.seconds = 3599.0
        self.issued: dict[str, StoredToken] = {}
        self.asked: list[dict[str, str]] = []
        self.discovered: list[str] = []
        self._clock = clock
        self._script: deque[EntraRefuses | EntraSilence] = deque()

    def application(self, tenant: str, client_id: str) -> FakeApplication:
        """Return an application, which is made if it is missing."""
        return self.tenants.setdefault(tenant, {}).setdefault(client_id, FakeApplication())

    def script(self, *acts: EntraRefuses | EntraSilence) -> None:
        """Answer the next requests for tokens so."""
        self._script.extend(acts)

    def knows(self, token: str, *resources: str) -> bool:
        """Return whether ``token`` is valid for one of ``resources``."""
        issued = self.issued.get(token)
        return (
            issued is not None
            and issued.expires > self._clock.seconds()
            and issued.scope.removesuffix("/.default").rstrip("/") in resources
        )

    def render(self, request: Request) -> Any:
        """Answer one request."""
        request.setHeader("Content-Type", "application/json; charset=utf-8")
        try:
            return json.dumps(self._answer(request)).encode()
        except EntraSilence:
            return NOT_DONE_YET
        except EntraRefuses as refusal:
            request.setResponseCode(refusal.status)
            for name, value in refusal.headers.items():
                request.setHeader(name, value)
            return json.dumps(self._refused(refusal)).encode()

    def _refused(self, refusal: EntraRefuses) -> Mapping[str, Any]:
        ids = {"trace_id": str(uuid.uuid4()), "correlation_id": str(uuid.uuid4())}
        text = refusal.text
        if refusal.number:
            text = (
                f"AADSTS{refusal.number}: {text} Trace ID: {ids['trace_id']}"
                f" Correlation ID: {ids['correlation_id']} Timestamp: 2027-01-15 08:00:00Z"
            )
        numbers = {"error_codes": [refusal.number]} if refusal.number else {}
        return {"error": refusal.error, "error_description": text, **numbers, **ids}

    def _answer(self, request: Request) -> Mapping[str, Any]:
        path, host = request.path.decode("ascii"), request.getHeader("Host") or ""
        base = f"{'https' if request.isSecure() else 'http'}://{host}"
        tenant = path.split("/")[1]
        if path.endswith("/oauth2/v2.0/token") and request.method == b"POST":
            return self._token(request, tenant, f"{base}{path}")
        if path == _METADATA:
            return self._metadata(request)
        self.discovered.append(path)
        if path == "/common/discovery/instance":
            return {
                "tenant_discovery_endpoint": f"{base}/{tenant}/v2.0/.well-known/openid-configuration",
                "api-version": "1.1",
                "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
            }
        if path == f"/{tenant}/v2.0/.well-known/openid-configuration":
            if tenant not in self.tenants:
                raise _unknown_tenant(tenant)
            return {
                "issuer": f"{base}/{tenant}/v2.0",
                "token_endpoint": f"{base}/{tenant}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/{tenant}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{base}/{tenant}/oauth2/v2.0/devicecode",
            }
        raise EntraRefuses(404, "not_found")

    def _token(self, request: Request, tenant: str, endpoint: str) -> Mapping[str, Any]:
        content = request.content.read() if request.content else b""
        form = {key: values[0] for key, values in parse_qs(content.decode()).items()}
        self.asked.append({key: value for key, value in form.items() if key != "client_secret"})
        if self._script:
            raise self._script.popleft()
        if form.get("grant_type") != "client_credentials":
            number = 70003 if form.get("grant_type") else 900144
            raise EntraRefuses(400, "invalid_request", number, "The grant type is missing or not supported.")
        if tenant not in self.tenants:
            raise _unknown_tenant(tenant)
        client_id = form.get("client_id", "")
        application = self.tenants[tenant].get(client_id)
        if application is None:
            text = f"Application with identifier '{client_id}' was not found in the directory '{tenant}'."
            raise EntraRefuses(400, "unauthorized_client", 700016, text)
        self._check_login(application, form, client_id, endpoint)
        scope = form.get("scope", "").split(" ")[0]
        if not scope.endswith("/.default"):
            text = f"The provided value for scope {scope} is not valid."
            raise EntraRefuses(400, "invalid_scope", 70011, text)
        life = int(self.seconds)
        token = self._issue(client_id, scope)
        return {"token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": token}

    def _check_login(
        self, application: FakeApplication, form: Mapping[str, str], client_id: str, endpoint: str
    ) -> None:
        if "client_secret" in form:
            ends = application.secrets.get(form["client_secret"])
            if ends is None:
                text = (
                    "Invalid client secret provided. Ensure the secret being sent in the request is the"
                    f" value, not the client secret ID, for a secret added to app '{client_id}'."
                )
                raise EntraRefuses(401, "invalid_client", 7000215, text)
            if ends <= self._clock.seconds():
                text = f"The provided client secret keys for app '{client_id}' are expired."
                raise EntraRefuses(401, "invalid_client", 7000222, text)
            return
        assertion = form.get("client_assertion", "")
        if not assertion or form.get("client_assertion_type") != _JWT:
            text = "The request body must contain 'client_assertion' or 'client_secret'."
            raise EntraRefuses(401, "invalid_client", 7000218, text)
        if assertion in application.federated:
            return
        if not any(_is_signed(assertion, each) for each in application.certificates):
            federated = bool(application.federated) and not application.certificates
            number, text = (
                700027,
                "The certificate used to sign the client assertion is not registered.",
            )
            if federated:
                number, text = 700213, "No matching federated identity record found for presented assertion."
            raise EntraRefuses(401, "invalid_client", number, text)
        claims = _part(assertion, 1)
        if claims.get("aud") != endpoint:
            raise EntraRefuses(401, "invalid_client", 700023, "The assertion's audience does not match.")
        if not claims.get("iss") == claims.get("sub") == client_id:
            raise EntraRefuses(401, "invalid_client", 700021, "The assertion's subject is not the client.")

    def _metadata(self, request: Request) -> Mapping[str, Any]:
        asked = {key.decode(): values[0].decode() for key, values in (request.args or {}).items()}
        self.asked.append(asked)
        if self._script:
            raise self._script.popleft()
        if request.getHeader("Metadata") != "true":
            raise EntraRefuses(400, "bad_request_102", text="Required metadata header not specified")
        if "resource" not in asked or asked["resource"].endswith("/.default"):
            raise EntraRefuses(400, "invalid_resource", text="The resource is not valid")
        if asked.get("client_id", "") not in self.identities:
            raise EntraRefuses(400, "invalid_request", text="Identity not found")
        expires = int(self._clock.seconds() + self.seconds)
        return {
            "access_token": self._issue(asked.get("client_id", ""), asked["resource"]),
            "refresh_token": "",
            "expires_in": str(int(self.seconds)),
            "expires_on": str(expires),
            "not_before": str(int(self._clock.seconds())),
            "resource": asked["resource"],
            "token_type": "Bearer",
        }

    def _issue(self, client_id: str, scope: str) -> str:
        """Return a new token, which looks like one of Entra; nobody but Microsoft may look into those."""
        claims = {"aud": scope.removesuffix("/.default"), "appid": client_id, "uti": uuid.uuid4().hex}
        token = ".".join(map(_encoded, ({"typ": "JWT", "alg": "RS256"}, claims, {"fake": uuid.uuid4().hex})))
        self.issued[token] = StoredToken(client_id, scope, self._clock.seconds() + self.seconds)
        return token


def _unknown_tenant(tenant: str) -> EntraRefuses:
    text = f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID."
    return EntraRefuses(400, "invalid_request", 90002, text)


def _encoded(part: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _part(token: str, number: int) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(_decoded(token.split(".")[number]))
    return found


def _is_signed(assertion: str, pem: bytes) -> bool:
    """Tell whether the key of a certificate has signed an assertion, which names the certificate."""
    certificate = x509.load_pem_x509_certificate(pem)
    key = certificate.public_key()
    try:
        header = _part(assertion, 0)
        signed, _, signature = assertion.rpartition(".")
        # SDKs of Microsoft leave the padding at the end.
        old = header.get("x5t", "").rstrip("=") == _thumbprint(certificate, hashes.SHA1())  # noqa: S303 -- as Entra has it
        new = header.get("x5t#S256", "").rstrip("=") == _thumbprint(certificate, hashes.SHA256())
        way = _PSS if header.get("alg") == "PS256" else _PKCS1
        if not (old or new) or not isinstance(key, RSAPublicKey):
            return False
        key.verify(_decoded(signature), signed.encode(), way, hashes.SHA256())
    except (InvalidSignature, ValueError, IndexError):
        return False
    return True


def _thumbprint(certificate: x509.Certificate, algorithm: hashes.HashAlgorithm) -> str:
    return base64.urlsafe_b64encode(certificate.fingerprint(algorithm)).decode().rstrip("=")
