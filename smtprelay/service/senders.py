"""
Which addresses the mail of each provider is sent from, as far as the configuration says.
"""

from collections.abc import Iterable, Iterator, Sequence

from smtprelay.config.model import Config, RouteSettings
from smtprelay.interfaces.online import Senders, one_of_each_domain
from smtprelay.model.address import ascii_domain

#: Stands for the addresses of a pattern.
_ANYBODY = "postmaster"


def senders_of(config: Config, provider: str) -> Senders:
    """
    Return the senders of the mail that a provider gets.

    They are those that clients may have, or that rules give them. Of a pattern such as ``*@example.com`` it
    is ``postmaster@example.com``; a pattern of many domains says nothing.
    """
    usual = tuple(_addresses(_allowed(config)))
    envelope: list[str] = []
    authors: list[str] = []
    for route in config.routes:
        if provider in route.via:
            clients = tuple(_addresses(route.match.sender)) or usual
            envelope += clients
            authors += _authors(route, clients)
    if provider in config.bounces.via:
        authors.append(config.bounces.from_)
    domains = config.providers[provider].author_domains
    if domains is not None:
        authors = [f"{_ANYBODY}@{ascii_domain(domain)}" for domain in sorted(domains)]
    return Senders(one_of_each_domain(envelope), one_of_each_domain(authors))


def _allowed(config: Config) -> Iterator[str]:
    for user in config.users:
        yield from (user.force_from,) if user.force_from else user.senders
    for listener in config.listeners:
        yield from listener.allow_senders
    for key in config.dkim:
        yield f"*@{key.domain}"


def _authors(route: RouteSettings, clients: Sequence[str]) -> Sequence[str]:
    rewrite = route.rewrite
    if rewrite is None or rewrite.from_ is None:
        return clients
    return (rewrite.from_, *(f"{_ANYBODY}@{ascii_domain(domain)}" for domain in rewrite.keep_from_domains))


def _addresses(patterns: Iterable[str]) -> Iterator[str]:
    for pattern in patterns:
        local, at, domain = pattern.rpartition("@")
        if at and "*" not in domain:
            yield f"{_ANYBODY if '*' in local else local}@{ascii_domain(domain)}"
