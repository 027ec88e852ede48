"""
Records of DNS, and why there are none.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import TimeoutError as NoneAnswered
from twisted.internet.error import ConnectError
from twisted.internet.error import TimeoutError as TookTooLong
from twisted.names import client, dns
from twisted.names.error import (
    DNSNameError,
    DNSQueryRefusedError,
    DNSQueryTimeoutError,
    DNSServerError,
    DomainError,
    ResolverError,
)

#: Seconds for each time that a server is asked.
_TIMES: Final = (2, 3, 5)
_RESOLV_CONF: Final = "/etc/resolv.conf"
_ANSWERS: Final[Mapping[type[DomainError], str]] = {
    DNSServerError: "the server failed (SERVFAIL)",
    DNSQueryRefusedError: "the server refuses to answer",
}


class DnsFailed(Exception):  # noqa: N818 -- it says what happened
    """It is not known whether there is a record, because DNS cannot be asked; the text says why."""


class DnsUnanswered(DnsFailed):
    """No server answers."""


def make_resolver(reactor: Any, server: tuple[str, int] | None = None) -> Any:
    """
    Return an ``IResolver``.

    :param server: the address and port to ask; ``None``: what this machine asks.
    """
    if server is None:
        return client.Resolver(resolv=_RESOLV_CONF, reactor=reactor, timeout=_TIMES)
    return client.Resolver(servers=[server], reactor=reactor, timeout=_TIMES)


async def text_records(resolver: Any, name: str) -> Sequence[str]:
    """
    Return the text of each TXT record of ``name``; nothing if there is none.

    :raises DnsFailed: it cannot be found out.
    """
    found = await records(resolver.lookupText, name, dns.TXT) or ()
    return [b"".join(each.data).decode("utf-8", "replace") for each in found]


async def records(lookup: Callable[..., Any], name: str, kind: int) -> Sequence[Any] | None:
    """
    Return the records of a ``kind``, as Twisted Names has them; ``None``: there is no such name.

    :param lookup: the method of an ``IResolver`` for that kind.
    :raises DnsFailed: it cannot be found out.
    """
    try:
        answers, _, _ = await lookup(name, timeout=_TIMES)
    except DNSNameError:
        return None
    except (DNSQueryTimeoutError, NoneAnswered, TookTooLong) as error:
        raise DnsUnanswered("no answer") from error
    except DomainError as error:
        raise DnsFailed(_ANSWERS.get(type(error), type(error).__name__)) from error
    except (ConnectError, OSError) as error:
        raise DnsUnanswered(str(error) or type(error).__name__) from error
    except (ResolverError, ValueError) as error:
        raise DnsFailed(str(error) or type(error).__name__) from error
    return [each.payload for each in answers if each.type == kind]
