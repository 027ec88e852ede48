"""
What the answers of services mean for a mail and its recipients, beside :mod:`smtprelay.http.outcomes`. Pure.
"""

import re
from typing import Final

from smtprelay.http.outcomes import in_print
from smtprelay.model.address import ascii_domain
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import SETUP, Blocked, Deferred, Delivered, Outcome, Throttled, Uncertain

#: Characters of a mail's id that are kept.
_LONGEST_ID: Final = 500
#: A domain that a command can name.
_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,253}")


def sender_lane(delivery: Delivery) -> str:
    """
    Return the lane in which mail waits while a service does not take its sender: one for each domain.

    An operator must verify the domain, or allow it; the mail of others flows.
    """
    address = delivery.sends_as or delivery.author or delivery.envelope.sender
    domain = ascii_domain(address.rpartition("@")[2])
    return SETUP + (domain if _DOMAIN.fullmatch(domain) else "unknown")


def taken(known: str, service: str, why: str = "") -> Outcome:
    """
    Return what a 200 means that names the mail as ``known``.

    A proxy may answer 200, too; only the service names the mail.
    """
    name = in_print(known[:_LONGEST_ID])
    return Delivered(name, why) if name else Uncertain(f"200 without the id that {service} gives each mail")


def obstacle(outcome: Outcome) -> Outcome | None:
    """Return the outcome of all later recipients, which are not tried; ``None``: they are tried."""
    if isinstance(outcome, Uncertain):
        return Deferred(f"not tried after: {outcome.why}")
    return outcome if isinstance(outcome, Deferred | Throttled | Blocked) else None
