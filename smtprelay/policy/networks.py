"""
Networks of clients. Here relays are usually bypassed, so this is strict.

An IPv4 address is the same one when it arrives as IPv6, which :func:`smtprelay.model.network.addresses_of`
knows. Patterns of addresses are in :mod:`smtprelay.model.patterns`. Pure.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from attrs import frozen

from smtprelay.model.network import MAPPED, IPNetwork, addresses_of

#: The networks that may send by default: this machine.
LOOPBACK: Final = ("127.0.0.0/8", "::1")
#: Who speaks through a Unix socket is on this machine.
_LOCAL: Final = {"unix": tuple(map(ip_address, ("127.0.0.1", "::1")))}


def network(text: str) -> IPNetwork:
    """
    Read one network in CIDR notation, or one address.

    An IPv4-mapped IPv6 network is its IPv4 network. Raises :exc:`ValueError` for
    anything else, host bits that are set included.
    """
    parsed = ip_network(text)
    if isinstance(parsed, IPv6Network) and parsed.subnet_of(MAPPED):
        [mapped] = addresses_of(str(parsed.network_address))
        return IPv4Network((int(mapped), parsed.prefixlen - MAPPED.prefixlen))
    return parsed


@frozen
class Networks:
    """A set of networks to find clients in."""

    networks: tuple[IPNetwork, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Networks":
        """Read CIDR networks and single addresses, or raise :exc:`ValueError`."""
        return cls(tuple(map(network, texts)))

    def __contains__(self, client: object) -> bool:
        """Say whether ``client``, an IP address or ``"unix"``, is in one of the networks."""
        if not isinstance(client, str):
            return False
        found = _LOCAL.get(client) or addresses_of(client)
        return any(address in known for address in found for known in self.networks)
