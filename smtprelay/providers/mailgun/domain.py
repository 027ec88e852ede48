"""
What Mailgun says of a domain that mail is sent through. Pure.
"""

from collections.abc import Mapping
from typing import Any, Final

from smtprelay.http.outcomes import text_in
from smtprelay.interfaces.online import OnlineFinding

_ACTIVE: Final = "active"


def domain_finding(name: str, said: Mapping[str, Any]) -> OnlineFinding:
    """
    Return whether the domain may send, and what is missing of its records in DNS.

    :param said: the answer to ``GET /v4/domains/{name}``.
    """
    domain, records = said.get("domain"), said.get("sending_dns_records")
    state = text_in(domain, "state") if isinstance(domain, dict) else ""
    if not state:
        return OnlineFinding("the answer does not tell the state of the domain", "unknown")
    if state != _ACTIVE:
        return OnlineFinding(f"{name} is {state}: see it in Mailgun's control panel", "error")
    listed = [each for each in records if isinstance(each, dict)] if isinstance(records, list) else []
    missing = [text_in(each, "name") for each in listed if each.get("valid") != "valid"]
    if missing:
        text = f"{name} is active; Mailgun does not find its records in DNS: {', '.join(missing)}"
        return OnlineFinding(text, "warning")
    return OnlineFinding(f"{name} is active, and Mailgun signs by it", authenticates=(name.lower(),))
