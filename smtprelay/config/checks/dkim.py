"""
Signing: whether a signature can be on the mail that it is for, and whether the keys can be used.
"""

from collections.abc import Iterator
from typing import Final

from smtprelay.config.checks import CheckedConfig
from smtprelay.mime.dkim.headers import unfit_headers
from smtprelay.model.address import ascii_domain
from smtprelay.providers.registry import kind_of
from smtprelay.settings.azure_table import check_table, check_table_library
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
        for m, text in unfit_headers(each.headers):
            place = () if m is None else (m,)
            yield Complaint(("dkim", n, "headers", *place), text, "CFG-VALUE")


def check_carriers(view: CheckedConfig) -> Iterator[Complaint]:
    """A provider that makes a mail of its own from what it gets cannot carry a signature."""
    used = {name for route in view.config.routes for name in route.via} | {*view.config.bounces.via}
    named = {name: each for name, each in view.config.providers.items() if name in used}
    whole = {name: each for name, each in named.items() if view.whole("providers", name)}
    for n, each in enumerate(view.config.dkim):
        for name, provider in whole.items():
            if _carries(provider, each.domain):
                continue
            text = f'"{name}" makes a mail of its own: a signature of {each.domain} cannot be on it'
            path = ("dkim", n, "required")
            if each.required:
                yield Complaint(path, f"{text}; required: false sends such mail without one", "CFG-DKIM")
            else:
                yield Complaint(path, text, "CFG-DKIM", "warning")
    table = view.config.dkim_table
    for name, provider in whole.items():
        if table is not None and not kind_of(provider).raw and isinstance(provider, RemoteProviderSettings):
            text = f'"{name}" makes a mail of its own: a signature of the relay cannot be on it'
            severity = "error" if table.required == "all" else "warning"
            yield Complaint(("dkim_table", "required"), text, "CFG-DKIM", severity)


def check_key_table(view: CheckedConfig) -> Iterator[Complaint]:
    """The table of keys can be asked."""
    if view.config.dkim_table is not None:
        yield from check_table(view.config.dkim_table, ("dkim_table",))


def check_key_table_library(view: CheckedConfig) -> Iterator[Complaint]:
    """What that needs is installed."""
    if view.config.dkim_table is not None:
        yield from check_table_library(view.config.dkim_table, ("dkim_table",))


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


CHECKS: Final = (check_signatures, check_carriers, check_key_table)
OUTSIDE_CHECKS: Final = (check_keys, check_key_table_library)
