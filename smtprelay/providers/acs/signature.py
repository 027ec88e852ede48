"""
Access keys of Azure Communication Services, and the signature that they make.

Two keys exist so that one can be replaced while the other works. A mistake in one, or in a connection string
as the portal shows it, is reported without repeating the secret.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from attrs import field, frozen

from smtprelay.model.network import is_loopback

_SIGNED: Final = "x-ms-date;host;x-ms-content-sha256"
#: What a ``Host`` header leaves out, by scheme.
USUAL_PORTS: Final = {"https": ":443", "http": ":80"}


class ClearTextError(ValueError):
    """Mail and signatures would cross a network in clear text."""


@frozen
class Credentials:
    """
    Where the resource is, and what opens it.

    :ivar endpoint: scheme and host, without a slash at the end.
    :ivar keys: at least one, in base64; none if there is a token.
    :ivar token: of Entra.
    :ivar host: the value of the ``Host`` header, which is signed: with the port, if it is not the usual one.
    """

    endpoint: str
    keys: Sequence[str] = field(default=(), repr=False)
    token: str = field(default="", repr=False)
    host: str = field(init=False)

    @host.default
    def _host(self) -> str:
        return self.endpoint.partition("://")[2]


def parse_connection_string(text: str) -> Credentials:
    """
    Read ``endpoint=https://…/;accesskey=…``.

    :raises ValueError: as :func:`parse_endpoint` and :func:`parse_key`, or because a part is missing; with a
        sentence for people that does not repeat the secret.
    """
    pairs = (part.partition("=") for part in text.strip().split(";") if part.strip())
    parts = {name.strip().lower(): value.strip() for name, _, value in pairs}
    for wanted in ("endpoint", "accesskey"):
        if not parts.get(wanted):
            raise ValueError(f"the connection string has no {wanted}: it is endpoint=https://…;accesskey=…")
    return Credentials(parse_endpoint(parts["endpoint"]), (parse_key(parts["accesskey"]),))


def parse_endpoint(text: str) -> str:
    """
    Return scheme and host of a resource's URL, in lower case and without the usual port.

    :raises ClearTextError: it is http:// and not this machine.
    :raises ValueError: it is no URL, or more than a host.
    """
    try:
        url = urlsplit(text.lower())
        host, _ = url.hostname, url.port
    except ValueError:
        host = None
    # Where the parts are mixed up, or a semicolon is missing, what stands here is the key.
    if not host or url.scheme not in USUAL_PORTS:
        raise ValueError("the endpoint is no https:// URL: expected https://host")
    if url.scheme == "http" and not is_loopback(host):
        raise ClearTextError("the endpoint must be https://: http:// is for loopback only")
    if url.path.strip("/") or url.query or url.fragment or "@" in url.netloc:
        raise ValueError("the endpoint is more than a host: expected https://host")
    return f"{url.scheme}://{url.netloc.removesuffix(USUAL_PORTS[url.scheme])}"


def parse_key(text: str) -> str:
    """Return an access key without blanks around it; raises ``ValueError`` if it is no base64, or empty."""
    try:
        if base64.b64decode(text.strip(), validate=True):
            return text.strip()
    except ValueError:
        pass
    raise ValueError("the access key is no base64: copy the whole key, and nothing else, from the portal")


def content_hash(body: bytes) -> str:
    """Return the base64 SHA-256 of a request's body, as ``x-ms-content-sha256`` carries it."""
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def signed_headers(
    key: str, method: str, target: str, *, host: str, date: str, digest: str
) -> dict[str, str]:
    """
    Return the headers that authenticate one request by HMAC-SHA256.

    :param target: path and query exactly as on the request line.
    :param date: now, as an HTTP-date; the service tolerates some minutes.
    :param digest: :func:`content_hash` of the body.
    """
    to_sign = f"{method}\n{target}\n{date};{host};{digest}"
    mac = hmac.digest(base64.b64decode(key), to_sign.encode(), "sha256")
    signature = base64.b64encode(mac).decode()
    return {
        "Host": host,
        "x-ms-date": date,
        "x-ms-content-sha256": digest,
        "Authorization": f"HMAC-SHA256 SignedHeaders={_SIGNED}&Signature={signature}",
    }
