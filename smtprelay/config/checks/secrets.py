"""
Secrets and endpoints, as they are on this machine and for the user that the relay runs as.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from smtprelay.config import endpoint
from smtprelay.config.checkers import AzureTableChecker, EntraChecker
from smtprelay.config.checks import CheckedConfig, walk
from smtprelay.config.model import WebhookSettings
from smtprelay.config.tree import Scalar, nearest
from smtprelay.model.expiry import expiry_words
from smtprelay.model.network import is_plain_remote
from smtprelay.providers.registry import kind_of
from smtprelay.settings.azure_table import check_table_url
from smtprelay.settings.complaint import Complaint, Path, loopback_only, spelled
from smtprelay.settings.entra import MACHINE, check_authority, check_entra, check_identity_library
from smtprelay.settings.provider import ProxySettings
from smtprelay.settings.proxy import has_password, proxy_of
from smtprelay.settings.secret import Secret


def check_secrets(view: CheckedConfig) -> Iterator[Complaint]:
    """Each secret must exist; warn of one that expires, or that others can read."""
    for path, value in walk(view.config):
        if not isinstance(value, Secret):
            continue
        where = spelled(path)
        if value.place == "inline":
            yield _inline(where, path)
        if value.ends and (words := expiry_words(value.ends, datetime.now(UTC).timestamp())):
            yield Complaint(path, f"{where}: the secret {words}", "CFG-EXPIRES", "warning")
        # What is in a service is asked for when the relay starts.
        if value.remote is not None:
            continue
        try:
            value.reveal()
        except ValueError as error:
            yield Complaint(path, f"{where}: {error}", "CFG-SECRET")
            continue
        for text in value.warnings():
            yield Complaint(path, f"{where}: {text}", "CFG-SECRET-FILE", "warning")


def check_providers(view: CheckedConfig) -> Iterator[Complaint]:
    """What each provider's own checks find in its secrets and files."""
    for name, provider in view.config.providers.items():
        for check in kind_of(provider).outside_checks:
            yield from check(provider, ("providers", name))


def check_key_vault(view: CheckedConfig) -> Iterator[Complaint]:
    """It is clear as whom Key Vault is asked, and that can be asked."""
    settings = view.config.key_vault
    remote = [path for path, value in walk(view.config) if isinstance(value, Secret) and value.remote]
    for path in remote:
        if path[0] == "key_vault":
            text = f"{spelled(path)}: Key Vault cannot be asked by a secret that is in it"
            yield Complaint(path, text, "CFG-SECRET")
    if settings is not None:
        yield from check_entra(settings, ("key_vault",))
    if remote:
        asked = settings or MACHINE
        yield from check_identity_library(asked, ("key_vault",))


def check_seal_key(view: CheckedConfig) -> Iterator[Complaint]:
    """The keys that seal logins are keys."""
    from smtprelay.spool.seal import parse_seal_keys  # noqa: PLC0415 -- most configurations have none

    secret = view.config.spool and view.config.spool.seal_key
    if secret and secret.text():
        try:
            parse_seal_keys(secret.text())
        except ValueError as error:
            yield Complaint(("spool", "seal_key"), f"spool.seal_key: {error}", "CFG-SECRET")


def check_checkers(view: CheckedConfig) -> Iterator[Complaint]:
    """Secrets of clients are encrypted on their way to Entra."""
    for name, checker in view.config.checkers.items():
        path: Path = ("checkers", name)
        if isinstance(checker, EntraChecker) and checker.authority is not None:
            yield from check_authority(checker.authority, "application", (*path, "authority"))
        elif isinstance(checker, AzureTableChecker):
            yield from _check_table(checker, path)


def _check_table(checker: AzureTableChecker, path: Path) -> Iterator[Complaint]:
    yield from check_table_url(checker.url, (*path, "url"))
    if checker.key is not None and checker.sas is not None:
        yield Complaint((*path, "sas"), "sas is not used beside key: remove one of them", "CFG-VALUE")
    if checker.reader is not None:
        yield from check_entra(checker.reader, path)
        yield from check_identity_library(checker.reader, path)
    elif checker.authority is not None:
        yield from check_authority(checker.authority, "application", (*path, "authority"))


def check_webhooks(view: CheckedConfig) -> Iterator[Complaint]:
    """Events must be encrypted when they leave this machine."""
    for path, value in walk(view.config):
        url = value.url.text() if isinstance(value, WebhookSettings) else ""
        if url and not re.match("https?://[^/]", url):
            yield Complaint((*path, "url"), "expected https://host/…", "CFG-VALUE")
        elif url and is_plain_remote(url):
            yield loopback_only((*path, "url"))


def check_proxies(view: CheckedConfig) -> Iterator[Complaint]:
    """A proxy from outside must be a URL; the password of one is better not in the configuration."""
    for path, value in walk(view.config):
        if not isinstance(value, ProxySettings):
            continue
        place, proxy = (*path, "proxy"), value.proxy
        where, node = spelled(place), nearest(view.root, place)
        # One that cannot be read is reported as every secret.
        if isinstance(proxy, Secret) and proxy.text():
            try:
                proxy_of(proxy)
            except ValueError as error:
                yield Complaint(place, f"{where}: {error}", "CFG-SECRET")
        elif isinstance(node, Scalar) and node.literal and not node.null and has_password(proxy):
            yield _inline(where, place)


def check_endpoints(view: CheckedConfig) -> Iterator[Complaint]:
    """Twisted must understand each endpoint; some kinds read certificates for that."""
    for section in ("listeners", "http"):
        for n, place in enumerate(getattr(view.config, section)):
            reason = endpoint.complaint(place.endpoint)
            if reason:
                text = f'"{place.endpoint}" is not an endpoint: {reason}'
                yield Complaint((section, n, "endpoint"), text, "CFG-ENDPOINT")


CHECKS: Final = (
    check_secrets,
    check_key_vault,
    check_checkers,
    check_seal_key,
    check_proxies,
    check_providers,
    check_webhooks,
    check_endpoints,
)


def _inline(where: str, path: Path) -> Complaint:
    text = f"{where}: the secret is in the configuration itself: better use {{file: …}} or {{env: …}}"
    return Complaint(path, text, "CFG-INLINE-SECRET", "warning")
