"""
What the API v2 says of an identity: an address or a domain that mail may be sent from. Pure.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from attrs import frozen

from smtprelay.http.outcomes import json_object, text_in
from smtprelay.interfaces.online import OnlineFinding
from smtprelay.model.address import ascii_domain

_SUCCESS: Final = "SUCCESS"
#: A domain above that of an address has at least so many names.
_LEAST_NAMES: Final = 2


@frozen
class SesIdentity:
    """
    An identity.

    :ivar name: the address, or the domain.
    :ivar verified: mail may be sent from it.
    :ivar signs: SES signs its mail with a key of this domain.
    :ivar mail_from: the domain of the envelope sender that SES uses instead of its own; ``""``: its own.
    """

    name: str
    verified: bool
    signs: bool
    mail_from: str

    @property
    def finding(self) -> OnlineFinding:
        """What that means for the mail."""
        if not self.verified:
            return OnlineFinding(f"{self.name} is not verified: SES refuses its mail", "error")
        domain = self.name.rpartition("@")[2]
        authenticates = [domain] * self.signs + [self.mail_from] * bool(self.mail_from)
        how = f"signed by {domain}" if self.signs else "not signed by SES"
        return OnlineFinding(f"{self.name} is verified, {how}", authenticates=tuple(authenticates))


def identity_path(name: str) -> str:
    """Return the path of the request for an identity."""
    return f"/v2/email/identities/{quote(name, safe='')}"


def identities_for(sender: str) -> Iterator[str]:
    """Give the names of the identities by which SES lets an address send, in their order."""
    domain = ascii_domain(sender.rpartition("@")[2]).lower()
    yield f"{sender.rpartition('@')[0]}@{domain}"
    names = domain.split(".")
    for start in range(max(1, len(names) - _LEAST_NAMES + 1)):
        yield ".".join(names[start:])


def read_identity(name: str, answer: bytes) -> SesIdentity:
    """Return what an answer says."""
    said = json_object(answer)
    dkim, mail_from = (_object(said.get(key)) for key in ("DkimAttributes", "MailFromAttributes"))
    uses_own = mail_from.get("MailFromDomainStatus") == _SUCCESS
    return SesIdentity(
        name,
        verified=said.get("VerifiedForSendingStatus") is True,
        signs=dkim.get("SigningEnabled") is True and dkim.get("Status") == _SUCCESS,
        mail_from=text_in(mail_from, "MailFromDomain").lower() if uses_own else "",
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
