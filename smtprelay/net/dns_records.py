"""
Text records of DNS, and why there are none.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

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
    try:
        answers, _, _ = await resolver.lookupText(name, timeout=_TIMES)
    except DNSNameError:
        return ()
    except (DNSQueryTimeoutError, TookTooLong) as error:
        raise DnsFailed("no answer") from error
    except DomainError as error:
        raise DnsFailed(_ANSWERS.get(type(error), type(error).__name__)) from error
    except (ResolverError, ConnectError, OSError) as error:
        raise DnsFailed(str(error) or type(error).__name__) from error
    found = (each.payload.data for each in answers if each.type == dns.TXT)
    return [b"".join(strings).decode("utf-8", "replace") for strings in found]
