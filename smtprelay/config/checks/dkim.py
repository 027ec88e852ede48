"""
Signing: whether a signature can be on the mail that it is for, and whether the keys can be used.
"""

from collections.abc import Iterator
from typing import Final

from smtprelay.config.checks import CheckedConfig
from smtprelay.mime.dkim.headers import UNSIGNABLE
from smtprelay.model.address import ascii_domain
from smtprelay.providers.registry import kind_of
from smtprelay.settings.complaint import Complaint, Path, spelled
from smtprelay.settings.provider import ProviderSettings, RemoteProviderSettings


def check_signatures(view: CheckedConfig) -> Iterator[Complaint]:
    """Each key has a name of its own, and signs From, and nothing that is changed on the way."""
    seen = set()
    for n, each in enumerate(view.config.dkim):
        name = ascii_domain(each.domain), ascii_domain(each.selector)
        if name in seen:
            text = f'the selector "{each.selector}" of {each.domain} is given twice'
            yield Complaint(("dkim", n, "selector"), text, "CFG-DUPLICATE")
        seen.add(name)
        if each.headers is not None and "from" not in map(str.lower, each.headers):
            text = "From is missing: a signature must cover it"
            yield Complaint(("dkim", n, "headers"), text, "CFG-VALUE")
        for m, field in enumerate(each.headers or ()):
            if field.lower() in UNSIGNABLE:
                text = f"{field} changes on the way: a signature cannot cover it"
                yield Complaint(("dkim", n, "headers", m), text, "CFG-VALUE")


def check_carriers(view: CheckedConfig) -> Iterator[Complaint]:
    """A provider that makes a mail of its own from what it gets cannot carry a signature."""
    used = {name for route in view.config.routes for name in route.via} | {*view.config.bounces.via}
    for n, each in enumerate(view.config.dkim):
        for name, provider in view.config.providers.items():
            if name not in used or not view.whole("providers", name) or _carries(provider, each.domain):
                continue
            text = f'"{name}" makes a mail of its own: a signature of {each.domain} cannot be on it'
            path = ("dkim", n, "required")
            if each.required:
                yield Complaint(path, f"{text}; required: false sends such mail without one", "CFG-DKIM")
            else:
                yield Complaint(path, text, "CFG-DKIM", "warning")


def _carries(provider: ProviderSettings, domain: str) -> bool:
    """Return whether mail of ``domain`` by this provider can be signed, or there is none."""
    if kind_of(provider).raw or not isinstance(provider, RemoteProviderSettings):
        return True
    domains = provider.author_domains
    return domains is not None and ascii_domain(domain) not in map(ascii_domain, domains)


def check_keys(view: CheckedConfig) -> Iterator[Complaint]:
    """Each key must be a private key that can sign."""
    for n, each in enumerate(view.config.dkim):
        yield from _usable(each.key.text(), ("dkim", n, "key"))


def _usable(text: str, path: Path) -> Iterator[Complaint]:
    from smtprelay.mime.dkim.key import parse_key  # noqa: PLC0415 -- slow to import

    # That it is missing is reported for every secret.
    if text:
        try:
            parse_key(text)
        except ValueError as error:
            yield Complaint(path, f"{spelled(path)}: {error}", "CFG-DKIM")


CHECKS: Final = (check_signatures, check_carriers)
OUTSIDE_CHECKS: Final = (check_keys,)
