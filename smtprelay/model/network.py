"""
IP addresses: as whom a client is counted, which networks have strangers in them, and what this machine is.

Whoever has one IPv6 address has its whole /64, so that is one client; but where a /64 has all of IPv4 in it,
each address is one. IPv4 within IPv6 is IPv4. Pure.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_address
from typing import Any, Final
from urllib.parse import urlsplit

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

#: One client has a network of this prefix.
CLIENT_PREFIX: Final = 64

#: Where the addresses of all of IPv4 are within IPv6: mapped, by NAT64 (RFC 6052), by 6to4 (RFC 3056).
MAPPED: Final = IPv6Network("::ffff:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_EMBEDDING: Final = (MAPPED, _NAT64, IPv6Network("2002::/16"))
#: Here they stand behind a prefix that the network's owner chose (RFC 8215), or a Teredo server's (RFC 4380).
_TRANSLATED: Final = {IPv6Network("64:ff9b:1::/48"): 96, IPv6Network("2001::/32"): 64}

#: No client outside has one of these addresses.
_PRIVATE: Final = tuple(
    map(
        IPv4Network,
        ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
    )
)
_PRIVATE_IPV6: Final = (IPv6Network("fc00::/7"), IPv6Network("fe80::/10"))
#: Number of addresses from which a network is no longer one organisation's: an IPv4 /7, an IPv6 /15.
_WIDEST: Final = {IPv4Network: 1 << 25, IPv6Network: 1 << 113}
#: An IPv6 network that is no wider than this holds strangers only if it holds those of IPv4.
_NARROW: Final = 16


def is_loopback(host: str) -> bool:
    """Tell whether ``host``, a name or an address without brackets, is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_plain_remote(url: str) -> bool:
    """Tell whether ``url`` sends secrets in clear text to another machine."""
    try:
        parts = urlsplit(url)
        return parts.scheme.lower() == "http" and not is_loopback((parts.hostname or "").lower())
    except ValueError:
        return True


def host_and_port(host: str, port: int) -> str:
    """Return ``host:port``; an IPv6 address is in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(maxsize=4096)
def counted_as(address: str) -> str:
    """Return under what a client at ``address`` is counted; what is no IP address is itself."""
    found = addresses_of(address)
    if not found:
        return address
    client = found[0]
    if isinstance(client, IPv6Address):
        network = IPv6Network((client, CLIENT_PREFIX), strict=False)
        return str(client if too_wide([network]) else network)
    return str(client)


def addresses_of(client: str) -> tuple[IPAddress, ...]:
    """
    Return the addresses that a client has, IPv4 first; none if ``client`` is no IP address.

    IPv4 that is mapped into IPv6 is IPv4 alone. What came by NAT64 is both: it is found by either. Nobody
    comes from a private address in that way (RFC 6052 §3.1), so that is no IPv4.
    """
    try:
        parsed = ip_address(client.partition("%")[0])
    except ValueError:
        return ()
    if parsed in MAPPED:
        return (_embedded(parsed, 96),)
    if parsed in _NAT64 and not _is_private(IPv4Network(_embedded(parsed, 96))):
        return (_embedded(parsed, 96), parsed)
    return (parsed,)


def too_wide(networks: Iterable[IPNetwork]) -> str:
    """
    Return which of ``networks``, or which several together, are larger than any organisation's; ``""``: none.

    It does not matter how they are written: in parts, or as IPv4 within IPv6.
    """
    listed = {network: _as_ipv4(network) for network in networks}
    public = [network for network in listed.values() if not _is_private(network)]
    for kind, widest in _WIDEST.items():
        # Two halves of the Internet are the Internet, and so are many parts that are no neighbours.
        of_kind: Iterator[Any] = (network for network in public if isinstance(network, kind))
        whole: list[IPNetwork] = [*collapse_addresses(of_kind)]
        if sum(each.num_addresses for each in whole) >= widest:
            largest = max(whole, key=lambda each: each.num_addresses)
            if largest.num_addresses < widest:
                return f"{largest} together with the other networks"
            return next((str(each) for each, is_ in listed.items() if is_ == largest), str(largest))
    return ""


def _is_private(network: IPNetwork) -> bool:
    if isinstance(network, IPv4Network):
        return any(network.subnet_of(each) for each in _PRIVATE)
    return any(network.subnet_of(each) for each in _PRIVATE_IPV6)


def _as_ipv4(network: IPNetwork) -> IPNetwork:
    """Return the IPv4 network that an IPv6 network is; all of IPv4, if that is within it."""
    if isinstance(network, IPv4Network):
        return network
    for whole in _EMBEDDING:
        if network.subnet_of(whole):
            prefix = min(network.prefixlen - whole.prefixlen, 32)
            return IPv4Network((_embedded(network.network_address, whole.prefixlen), prefix), strict=False)
        if network.supernet_of(whole) and network.prefixlen >= _NARROW:
            return IPv4Network("0.0.0.0/0")
    for whole, prefix in _TRANSLATED.items():
        if network.overlaps(whole) and _NARROW <= network.prefixlen <= prefix:
            return IPv4Network("0.0.0.0/0")
    return network


def _embedded(address: IPAddress, prefix: int) -> IPv4Address:
    """Return the IPv4 address behind the first ``prefix`` bits."""
    return IPv4Address(int(address) >> (96 - prefix) & 0xFFFFFFFF)
