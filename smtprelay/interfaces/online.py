"""
What ``smtprelay config check --online`` asks, and what it found out. Pure.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, Literal

from attrs import evolve, frozen

from smtprelay.model.outcome import Blocked, Delivered, Failed, Outcome

Severity = Literal["ok", "warning", "unknown", "error"]

#: The worst last.
SEVERITIES: Final[tuple[Severity, ...]] = ("ok", "warning", "unknown", "error")


@frozen
class OnlineFinding:
    """
    What was found out by one question.

    :ivar text: a sentence for people.
    :ivar severity: ``"error"``: mail would not leave, or not arrive. ``"unknown"``: there is no answer now.
    :ivar about: whose it is, and what was asked; a provider's check leaves both to those who run it.
    :ivar authenticates: domains that the service answers for in what it sends: that of its own DKIM
        signature, or of its own sender of the envelope.
    """

    text: str
    severity: Severity = "ok"
    about: str = ""
    check: str = ""
    authenticates: tuple[str, ...] = ()

    def of(self, about: str, check: str) -> "OnlineFinding":
        """Return it with whose it is, and what was asked."""
        return evolve(self, about=about, check=check)

    def __str__(self) -> str:
        severity = "" if self.severity == "ok" else f"{self.severity}: "
        return f"{self.about}: {self.check}: {severity}{self.text}"


@frozen
class Senders:
    """
    Addresses that the mail of one provider is sent from, as far as is known; of each domain one.

    :ivar envelope: in MAIL; ``authors``: in From.
    """

    envelope: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Both, of each domain one."""
        return one_of_each_domain((*self.authors, *self.envelope))


def one_of_each_domain(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return the first address of each domain."""
    found: dict[str, str] = {}
    for address in addresses:
        found.setdefault(domain_of(address), address)
    return tuple(found.values())


def domain_of(address: str) -> str:
    """Return the domain of an address, in lower case."""
    return address.rpartition("@")[2].lower()


#: Asks one question, without sending mail. What it raises is told as a finding.
OnlineCheck = Callable[[], Awaitable[Iterable[OnlineFinding]]]
#: By name, for people.
OnlineChecks = Mapping[str, OnlineCheck]


def of_outcome(outcome: Outcome | None, success: str = "ok") -> OnlineFinding:
    """Return what the outcome of a request without a mail says; ``None``: only a mail can tell."""
    if outcome is None:
        return OnlineFinding("not known: only a mail can tell")
    if isinstance(outcome, Delivered):
        return OnlineFinding(success)
    return OnlineFinding(outcome.why, "error" if isinstance(outcome, Blocked | Failed) else "unknown")
