"""
The servers of a domain, by DNS (RFC 5321 §5.1): its mail exchangers in their order, or the domain itself.
"""

import random
from collections.abc import AsyncIterator, Callable, Mapping, MutableSequence, Sequence
from ipaddress import ip_address
from typing import Any, Final

from attrs import evolve
from twisted.names import dns

from smtprelay.model.address import ascii_domain
from smtprelay.model.message import Envelope, Recipient
from smtprelay.model.outcome import Blocked, Deferred, Failed, Outcome, Throttled
from smtprelay.net.dns_records import DnsFailed, DnsUnanswered, records
from smtprelay.net.reachability import Reachability
from smtprelay.providers.smarthost.errors import NotAccepted
from smtprelay.providers.smarthost.server_settings import ServerAddress

#: Addresses of one domain that one attempt tries; each may cost the time limit for a connection.
_MOST: Final = 5
#: RFC 7505 §4.2: the domain takes no mail. RFC 3463 §3.2, §3.5: no such domain; no server for it.
_NULL_MX: Final = "5.1.10"
_NO_DOMAIN: Final = "5.1.2"
_NO_SERVER: Final = "5.4.4"


class MailExchangers:
    """
    Finds the servers of domains.

    :param resolver: an :class:`~twisted.internet.interfaces.IResolver` of Twisted Names.
    :param name: our own; mail is never sent on to ourselves (RFC 5321 §5.1).
    :param port: that of all servers.
    :param reachability: records whether DNS can be reached.
    :param shuffle: changes the order of servers that are equal.
    """

    def __init__(
        self,
        resolver: Any,
        name: str,
        port: int,
        reachability: Reachability,
        shuffle: Callable[[MutableSequence[str]], None] = random.shuffle,
    ) -> None:
        self._resolver = resolver
        self._name = name.lower()
        self._port = port
        self._reachability = reachability
        self._shuffle = shuffle

    async def servers(self, domain: str) -> AsyncIterator[ServerAddress]:
        """
        Give the servers of ``domain`` in the order in which they are tried; at least one.

        :raises NotAccepted: there is none, or DNS does not say.
        """
        count, unknown = 0, ""
        for name in await self._names(domain):
            for kind in (dns.A, dns.AAAA):
                try:
                    addresses = await self._addresses(name, kind)
                except DnsFailed as error:
                    addresses, unknown = (), str(error)
                for address in addresses:
                    yield ServerAddress(name, address, self._port)
                    count += 1
                    if count == _MOST:
                        return
        if unknown and not count:
            raise NotAccepted(Deferred(unknown))
        if not count:
            raise NotAccepted(Failed(f"DNS has no mail server for {domain}", _NO_SERVER))

    async def _names(self, domain: str) -> Sequence[str]:
        """Return the exchangers, best first; the domain itself if there are none, or if it is an address."""
        if domain.startswith("["):
            return [domain]
        try:
            found = await self._records(self._resolver.lookupMailExchange, domain, dns.MX)
        except DnsFailed as error:
            raise NotAccepted(Deferred(str(error))) from error
        if found is None:
            raise NotAccepted(Failed(f"DNS knows no domain {domain}", _NO_DOMAIN))
        if [_text(each.name) for each in found] == [""]:
            raise NotAccepted(Failed(f"{domain} takes no mail: its MX record is the null MX", _NULL_MX))
        return self._in_order(found, domain) if found else [domain]

    def _in_order(self, found: Sequence[Any], domain: str) -> Sequence[str]:
        names: list[str] = []
        for preference in sorted({each.preference for each in found}):
            group = sorted(_text(each.name) for each in found if each.preference == preference)
            if self._name in group:
                if not names:
                    why = f"the mail would come back: {self._name} is the mail server of {domain}"
                    raise NotAccepted(Deferred(why))
                break
            self._shuffle(group)
            names += group
        return [name for name in names if name]

    async def _addresses(self, name: str, kind: int) -> Sequence[str]:
        if name.startswith("["):
            literal = name[1:-1].removeprefix("ipv6:")
            found = [literal] if (":" in literal) == (kind == dns.AAAA) else []
        elif kind == dns.A:
            known = await self._records(self._resolver.lookupAddress, name, kind) or ()
            found = [each.dottedQuad() for each in known]
        else:
            known = await self._records(self._resolver.lookupIPV6Address, name, kind) or ()
            found = [str(ip_address(each.address)) for each in known]
        return [each for each in found if _is_elsewhere(each)]

    async def _records(self, lookup: Callable[..., Any], name: str, kind: int) -> Sequence[Any] | None:
        """Return the records of a kind; ``None``: there is no such name."""
        contact = self._reachability.begin("DNS", "request")
        try:
            found = await records(lookup, name, kind)
            contact.answered()
        except DnsFailed as error:
            why = f"DNS for {name}: {error}"
            if isinstance(error, DnsUnanswered):
                contact.failed(why)
            else:
                contact.answered()
            raise DnsFailed(why) from error
        finally:
            contact.dropped()
        return found


def domain_of(address: str) -> str:
    """Return the domain of a recipient as DNS has it."""
    return ascii_domain(address.rpartition("@")[2]).rstrip(".")


def by_domain(envelope: Envelope) -> Mapping[str, Envelope]:
    """Return the parts of an envelope, by the domain of their recipients."""
    parts: dict[str, list[Recipient]] = {}
    for recipient in envelope.recipients:
        parts.setdefault(domain_of(recipient.address), []).append(recipient)
    return {domain: envelope.narrowed(tuple(each)) for domain, each in parts.items()}


def of_domain(outcome: Outcome, lane: str) -> Outcome:
    """
    Return what the words of one domain's server mean: they stop, or slow down, no other domain.

    :param lane: the domain's own, or ``""`` if the mail is for several.
    """
    match outcome:
        case Blocked(why):
            return Deferred(why)
        case Throttled(why, retry_after):
            return evolve(outcome, lane=lane) if lane else Deferred(why, retry_after)
    return outcome


def _text(name: dns.Name) -> str:
    return name.name.decode("ascii", "replace").lower().rstrip(".")


def _is_elsewhere(text: str) -> bool:
    """Tell whether another machine can have an address: who owns a domain could name our own services."""
    address = ip_address(text)
    address = getattr(address, "ipv4_mapped", None) or address
    return not (
        address.is_loopback or address.is_unspecified or address.is_link_local or address.is_multicast
    )
