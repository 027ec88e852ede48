"""
What Resend says of the domains of an account. Pure.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from smtprelay.http.outcomes import text_in
from smtprelay.interfaces.online import OnlineFinding, domain_of

_VERIFIED: Final = "verified"


def domain_findings(senders: Iterable[str], said: Mapping[str, Any]) -> Iterator[OnlineFinding]:
    """
    Tell whether mail of the senders may be sent: a domain is verified for itself, not for those below it.

    :param said: the answer to ``GET /domains``, its first page.
    """
    data = said.get("data")
    if not isinstance(data, list):
        yield OnlineFinding("the answer does not tell the domains of the account", "unknown")
        return
    states = {
        text_in(each, "name").lower(): text_in(each, "status") for each in data if isinstance(each, dict)
    }
    for domain in map(domain_of, senders):
        if domain not in states and said.get("has_more") is True:
            yield OnlineFinding(f"{domain} is not among the first domains that Resend lists", "unknown")
        elif domain not in states:
            yield OnlineFinding(f"Resend does not know {domain}: add and verify it", "error")
        elif states[domain] != _VERIFIED:
            yield OnlineFinding(f"{domain} is {states[domain]}, not verified", "error")
        else:
            yield OnlineFinding(f"{domain} is verified, and Resend signs by it", authenticates=(domain,))
