"""
How requests leave this machine: through which proxy, whom they trust, and with which certificate. Pure.
"""

import base64
import re
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from attrs import field, frozen

from smtprelay.model.network import IPAddress, host_and_port, is_loopback

#: Services of a cloud that only this machine can ask, beside those with link-local addresses.
_METADATA: Final = frozenset({"fd00:ec2::23", "fd00:ec2::254"})

_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"[\w.-]+|[0-9a-f:.]+", re.ASCII | re.IGNORECASE)
_EXPECTED: Final = (
    "not the URL of a proxy: expected http://HOST:PORT, or with a login USER:PASSWORD@HOST:PORT;"
    " in the password @ / # ? and % are %40 %2F %23 %3F and %25"
)


@frozen(kw_only=True)
class HttpProxy:
    """
    An HTTP proxy that opens tunnels; ``str()`` is its host and port.

    :ivar scheme: ``http``, or ``https`` for one that is itself reached by TLS.
    :ivar user: ``""``: it wants no login.
    """

    scheme: str = "http"
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return host_and_port(self.host, self.port)

    @property
    def url(self) -> str:
        """The URL, with the login."""
        login = f"{quote(self.user, '')}:{quote(self.password, '')}@" if self.user else ""
        return f"{self.scheme}://{login}{self}"

    @property
    def authorization(self) -> str:
        """The value of ``Proxy-Authorization``, ``""`` without a login."""
        login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return f"Basic {login}" if self.user else ""


@frozen(kw_only=True)
class Outbound:
    """
    How the requests of one provider leave.

    :ivar proxy: ``None``: they go directly.
    :ivar no_proxy: where they go directly all the same, as ``NO_PROXY`` has it: a host with all within its
        domain (``example.com``, ``.example.com``), also with a port; an address or a network; ``*``.
    :ivar ca: a PEM file of authorities to trust besides the platform's, or ``""``.
    :ivar client_certificate: the PEM files of our certificate, with its chain, and of its key.
    """

    proxy: HttpProxy | None = None
    no_proxy: tuple[str, ...] = ()
    ca: str = ""
    client_certificate: tuple[str, str] | None = None

    def proxy_for(self, host: str, port: int) -> HttpProxy | None:
        """Return the proxy for a host; ``None``: it is reached directly, as this machine is."""
        host = host.lower().strip("[]").rstrip(".")
        if self.proxy is None or _is_local(host):
            return None
        return None if any(_is_meant(each.lower(), host, port) for each in self.no_proxy) else self.proxy

    def place(self, netloc: str) -> str:
        """Return what people are told that ``netloc`` of a URL is reached by."""
        parts = urlsplit(f"//{netloc}")
        proxy = self.proxy_for(parts.hostname or "", parts.port or _PORTS["https"])
        return netloc if proxy is None else f"{netloc} through the proxy {proxy}"

    def proxies(self, url: str) -> dict[str, str]:
        """Return the proxy for ``url`` as requests, urllib3 and botocore take it; plain HTTP gets none."""
        parts = urlsplit(url)
        proxy = self.proxy_for(parts.hostname or "", parts.port or _PORTS["https"])
        return {"https": proxy.url} if proxy is not None and parts.scheme == "https" else {}


#: Directly, with the platform's trust.
DIRECT: Final = Outbound()


def parse_proxy(url: str) -> HttpProxy:
    """
    Return the proxy of a URL; with a port the scheme may be left out, and is ``http``.

    :raises ValueError: it is none. The text does not repeat it, for it may have a password.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(_EXPECTED) from None
    if parts.scheme not in _PORTS:
        raise ValueError(f"a proxy is reached by http:// or https://, not by {parts.scheme}://")
    known = port if port is not None or "://" not in url else _PORTS[parts.scheme]
    if not _HOST.fullmatch(host) or not known or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(_EXPECTED)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if ":" in user or (password and not user):
        raise ValueError(_EXPECTED)
    return HttpProxy(scheme=parts.scheme, host=host, port=known, user=user, password=password)


def _is_local(host: str) -> bool:
    """Tell whether ``host`` is this machine, or a service for it alone, such as instance metadata."""
    address = _address(host)
    return is_loopback(host) or host in _METADATA or (address is not None and address.is_link_local)


def _is_meant(entry: str, host: str, port: int) -> bool:
    """Tell whether an entry of ``NO_PROXY`` is for ``host``."""
    try:
        network = ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        name, _, number = entry.rpartition(":")
        if name and number.isdecimal():
            return int(number) == port and _is_meant(name, host, port)
        domain = entry.removeprefix("*").strip(".")
        return entry == "*" or (bool(domain) and f".{host}".endswith(f".{domain}"))
    address = _address(host)
    return address is not None and address in network


def _address(host: str) -> IPAddress | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
