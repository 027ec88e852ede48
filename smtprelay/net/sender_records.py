"""
What DNS says of a domain that mail is sent from: SPF (RFC 7208), DMARC (RFC 7489), keys of DKIM (RFC 6376).
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from attrs import frozen

from smtprelay.mime.dkim.key import parse_key
from smtprelay.mime.dkim.record import RecordFinding, check_record, record_name
from smtprelay.model.address import ascii_domain
from smtprelay.net.dns_records import text_records

_SPF: Final = re.compile(r"v=spf1(?: .*)?", re.IGNORECASE | re.DOTALL)
_DMARC: Final = re.compile(r"v=DMARC1\s*(?:;.*)?", re.DOTALL)
_EVERYBODY: Final = re.compile(r" \+?all\b", re.IGNORECASE)
_POLICIES: Final = ("none", "quarantine", "reject")
#: Parents of a domain that may have a DMARC record have at least so many names; we ask for so many at most.
_LEAST_NAMES: Final = 2
_MOST_NAMES: Final = 8


@frozen
class Dmarc:
    """
    What receivers are asked to do with mail of a domain that does not align.

    :ivar policy: ``none``, ``quarantine`` or ``reject``.
    :ivar organization: the domain whose record it is, or the highest one above it that has one: in relaxed
        alignment all domains below it are one.
    :ivar strict: the domain of a signature must be the same (``adkim=s``).
    """

    policy: str
    organization: str
    strict: bool = False

    def aligns(self, domain: str, other: str) -> bool:
        """Tell whether a signature of ``other`` speaks for mail of ``domain``."""
        if self.strict:
            return domain == other
        return within(domain, self.organization) and within(other, self.organization)


def within(domain: str, parent: str) -> bool:
    """Tell whether a domain is another one, or below it."""
    return f".{domain}".endswith(f".{parent}")


def check_spf(texts: Sequence[str]) -> RecordFinding | None:
    """Return what is wrong with the SPF record among the TXT records of a domain; ``None``: nothing."""
    found = spf_records(texts)
    if not found:
        return RecordFinding("there is no record: receivers cannot tell who may send", is_error=False)
    if len(found) > 1:
        return RecordFinding(f"there are {len(found)} records: receivers take none of them, leave one")
    if _EVERYBODY.search(found[0]):
        return RecordFinding(f"the record lets everybody send: {found[0]}", is_error=False)
    return None


def spf_records(texts: Sequence[str]) -> Sequence[str]:
    """Return those TXT records that are of SPF."""
    return [text.strip() for text in texts if _SPF.fullmatch(text.strip())]


async def find_dmarc(resolver: Any, domain: str) -> Dmarc | None:
    """
    Return what holds for mail of ``domain``: by its own record, or by that of a domain above it.

    :raises DnsFailed: it cannot be found out.
    :raises ValueError: a record cannot be used; the text says why.
    """
    names = domain.split(".")[-_MOST_NAMES:]
    above = [".".join(names[start:]) for start in range(1, len(names) - _LEAST_NAMES + 1)]
    found: list[tuple[str, dict[str, str]]] = []
    for each in (domain, *above):
        texts = [text for text in await text_records(resolver, f"_dmarc.{each}") if _DMARC.match(text)]
        if len(texts) > 1:
            raise ValueError(f"there are {len(texts)} records at _dmarc.{each}: receivers take none of them")
        found += [(each, _tags(text)) for text in texts]
    if not found:
        return None
    place, tags = found[0]
    policy = tags.get("p", "") if place == domain else tags.get("sp") or tags.get("p", "")
    if policy not in _POLICIES:
        raise ValueError(f'the record at _dmarc.{place} has no policy: "p={policy}"')
    return Dmarc(policy, found[-1][0], strict=tags.get("adkim") == "s")


def _tags(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip().lower(): value.strip().lower() for name, _, value in pairs}


async def check_published(
    resolver: Any, domain: str, selector: str, read_key: Callable[[], str]
) -> Sequence[RecordFinding]:
    """
    Return what is wrong with the record of a key; nothing: signatures by it are valid.

    :param read_key: returns the key in PEM form; raises ``ValueError``.
    :raises DnsFailed: it cannot be found out.
    """
    try:
        key = parse_key(read_key())
        texts = await text_records(resolver, record_name(ascii_domain(domain), ascii_domain(selector)))
    except ValueError as error:
        return [RecordFinding(f"the key cannot be used: {error}")]
    return [*check_record(texts, key)]
