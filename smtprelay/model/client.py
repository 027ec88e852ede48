"""
Who counts as one client. Pure.
"""

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

#: The bits of an IPv6 address that a network of its own has: a client has all addresses in it.
_PREFIX: Final = 64


@lru_cache(maxsize=1024)
def network_of(address: str) -> str:
    """
    Return the address, or for IPv6 the /64 that it is in, as text; what is no address as it is.

    IPv4 within IPv6 is IPv4.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        if not parsed.is_loopback:
            return str(IPv6Network((int(parsed), _PREFIX), strict=False))
    return str(parsed)
