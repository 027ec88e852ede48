"""
Networks and address patterns: the two ways in which a rule names people.

Both are where relays are usually bypassed, so both are strict here: an address is judged by what follows its
last ``@`` and never taken apart further, only ASCII letters are folded (folding more would make one mailbox
look like another), and an IPv4 address is the same one when it arrives as IPv6, which
:func:`smtprelay.model.network.addresses_of` knows. Pure.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from string import ascii_lowercase, ascii_uppercase
from typing import Final

from attrs import frozen

from smtprelay.model.address import is_domain, is_local_part
from smtprelay.model.network import MAPPED, IPNetwork, addresses_of

#: The networks that may send by default: this machine.
LOOPBACK: Final = ("127.0.0.0/8", "::1")
#: Who speaks through a Unix socket is on this machine.
_LOCAL: Final = {"unix": tuple(map(ip_address, ("127.0.0.1", "::1")))}

_ASCII_LOWER: Final = str.maketrans(ascii_uppercase, ascii_lowercase)

#: RFC 5321 §4.1.2 Mailbox. Unquoted, a second ``@``, a source route or a list cannot be in it.
_MAILBOX: Final = re.compile(
    r'(?:"(?:[^"\\]|\\.)*"|[^\s"\\<>()\[\],:;@]+)@(?:[^\s"\\<>()\[\],:;@]+|\[[^\s\\<>()\[\],;@]+\])'
)
#: What must never reach a header, a log line or a protocol further on: C0, DEL, C1, line and
#: paragraph separators, and what was no text to begin with.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def folded(text: str) -> str:
    """Return ``text`` with its ASCII letters in lower case, and no others changed."""
    return text.translate(_ASCII_LOWER)


def has_control(address: str) -> bool:
    """Say whether ``address`` has a character in it that may not stand in an address at all."""
    return _CONTROL.search(address) is not None


def is_mailbox(address: str) -> bool:
    """
    Say whether ``address`` is one mailbox in full: one local part, one domain, nothing else.

    One that no mail can be delivered to, whatever servers there are, is none.
    """
    if _MAILBOX.fullmatch(address) is None:
        return False
    local, _, domain = address.rpartition("@")
    return is_local_part(local) and is_domain(domain)


def glob(pattern: str) -> re.Pattern[str]:
    """
    Return what matches ``pattern`` with :meth:`re.Pattern.fullmatch`, ASCII case apart.

    ``*`` stands for any text; nothing else is special. The time a match takes
    does not explode with the number of stars.
    """
    first, *rest = map(re.escape, pattern.split("*"))
    if rest:
        *middle, last = rest
        first += "".join(f"(?>.*?{piece})" for piece in middle) + ".*" + last
    return re.compile(first, re.IGNORECASE | re.ASCII | re.DOTALL)


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


@frozen
class Patterns:
    """
    Address patterns: ``*``, ``*@example.com``, ``scan@example.com``, ``*@*.example.com``, ``<>``.

    Only ``*`` and ``<>`` match the null sender. Raises :exc:`ValueError` for a pattern that could never match
    an address.
    """

    texts: tuple[str, ...]

    def __attrs_post_init__(self) -> None:
        for text in self.texts:
            if "@" not in text and text not in ("*", "<>"):
                raise ValueError(f"{text!r} is no address pattern; a domain is written *@{text}")

    def match(self, address: str) -> bool:
        """Say whether one of the patterns matches ``address``; none do if there are none."""
        if self.anything:
            return True
        address = folded(address) or "<>"
        if address in self._exact:
            return True
        local, at, domain = address.rpartition("@")
        return at == "@" and (
            domain in self._domains
            or any(locals_.fullmatch(local) and domains.fullmatch(domain) for locals_, domains in self._globs)
        )

    @cached_property
    def anything(self) -> bool:
        """Whether every address is matched."""
        return "*" in self.texts or "*@*" in self.texts

    @cached_property
    def _exact(self) -> frozenset[str]:
        return frozenset(folded(text) for text in self.texts if "*" not in text)

    @cached_property
    def _domains(self) -> frozenset[str]:
        split = [folded(text).rpartition("@") for text in self.texts]
        return frozenset(domain for local, _, domain in split if local == "*" and "*" not in domain)

    @cached_property
    def _globs(self) -> Sequence[tuple[re.Pattern[str], re.Pattern[str]]]:
        split = [text.rpartition("@") for text in self.texts if "*" in text]
        return [(glob(local), glob(domain)) for local, _, domain in split if domain not in self._domains]
