"""
Addresses that no mail can be delivered to, recognised by their spelling.

Providers refuse them, some of them with all the other recipients of the request; so their client is told
of it at once (RFC 5321 §4.1.2 and §4.1.3, RFC 1035 §2.3.4). An underscore may stand in a domain: the
names of devices have it. Pure.
"""

import re
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import idna

#: Octets of a domain as it is written, and of one label.
MAX_DOMAIN: Final = 253
MAX_LABEL: Final = 63

_IPV6: Final = "ipv6:"
_ROUTE: Final = re.compile(r"@[^:,@]+(?:,@[^:,@]+)*:")
#: What in a local part tells a server to send the mail on: ``v%b.test@``, ``b.test!v@``, ``"v@b.test"@``.
_RELAYING: Final = frozenset("%!@")


#: A dot-atom without what could route it, and a domain of host names whose last one is no number.
_ORDINARY: Final = re.compile(
    r"[A-Za-z0-9#$&'*+/=?^_`{|}~-]++(?:\.[A-Za-z0-9#$&'*+/=?^_`{|}~-]++)*+"
    rf"@(?=[^@]{{1,{MAX_DOMAIN}}}\Z)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{{0,61}}[A-Za-z0-9_])?\.)*"
    r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)

#: RFC 5321 §4.1.2 Mailbox. Unquoted, a second ``@``, a source route or a list cannot be in it.
_MAILBOX: Final = re.compile(
    r'(?:"(?:[^"\\]|\\.)*"|[^\s"\\<>()\[\],:;@]+)@(?:[^\s"\\<>()\[\],:;@]+|\[[^\s\\<>()\[\],;@]+\])'
)
#: What must never reach a header, a log line or a protocol further on: C0, DEL, C1, line and
#: paragraph separators, and what was no text to begin with.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def is_ordinary(address: str) -> bool:
    """Tell whether ``address`` needs no closer look; one that does may be good all the same."""
    return _ORDINARY.fullmatch(address) is not None


def without_route(address: str) -> str:
    """Return ``address`` without its source route (``@one,@two:``, RFC 5321 §4.1.1.3)."""
    route = _ROUTE.match(address)
    return address[route.end() :] if route else address


def is_routed(address: str) -> bool:
    """Tell whether ``address`` could be routed beyond its domain, in any of the old notations."""
    return without_route(address) != address or not _RELAYING.isdisjoint(address.rpartition("@")[0])


def is_local_part(local: str) -> bool:
    """Tell whether ``local``, which has no character that may not be in it, is quoted or a dot-atom."""
    return local.startswith('"') or not (local.startswith(".") or local.endswith(".") or ".." in local)


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


@lru_cache(maxsize=512)
def is_domain(domain: str) -> bool:
    """Tell whether ``domain`` can be a host's name, or is an address in brackets that exists."""
    if domain.startswith("["):
        return domain.endswith("]") and _is_literal(domain[1:-1])
    domain = domain.removesuffix(".")
    return len(domain) <= MAX_DOMAIN and all(map(_is_label, domain.split(".")))


def ascii_domain(domain: str) -> str:
    """Return ``domain`` in lower case, its U-labels as A-labels (UTS 46); what is none stays as it is."""
    domain = domain.lower()
    if domain.isascii() or len(domain) > MAX_DOMAIN:
        return domain
    with suppress(UnicodeError, ValueError):
        domain = idna.uts46_remap(domain, std3_rules=False, transitional=False)
    return ".".join(map(_a_label, domain.split(".")))


def _a_label(label: str) -> str:
    if label.isascii() or len(label) > MAX_LABEL:
        return label
    with suppress(UnicodeError, ValueError):
        return idna.alabel(label).decode("ascii")
    with suppress(UnicodeError, ValueError):  # names of earlier rules, such as those of emoji
        return "xn--" + label.encode("punycode").decode("ascii")
    return label


def is_numeric(domain: str) -> bool:
    """
    Tell whether ``domain`` ends like an address without its brackets.

    There is no such top-level domain (RFC 3696 §2); devices call themselves so all the same.
    """
    last = domain.removesuffix(".").rpartition(".")[2]
    return last.isascii() and last.isdigit()


def _is_label(label: str) -> bool:
    return 0 < len(label) <= MAX_LABEL and label[0] != "-" and label[-1] != "-"


def _is_literal(address: str) -> bool:
    try:
        if address[: len(_IPV6)].lower() == _IPV6:
            return IPv6Address(address[len(_IPV6) :]).scope_id is None
        IPv4Address(address)
    except ValueError:
        return False
    return True
