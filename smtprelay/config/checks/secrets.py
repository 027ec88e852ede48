"""
Secrets and endpoints, as they are on this machine and for the user that the relay runs as.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Final

from smtprelay.config import endpoint
from smtprelay.config.checks import CheckedConfig, Complaint, walk
from smtprelay.config.model import WebhookSettings
from smtprelay.config.provider_settings import AcsSettings
from smtprelay.config.secret import Secret
from smtprelay.config.tree import Path, spelled

#: Days before the expiry of a secret from which each start warns of it.
_SOON: Final = 30


def check_secrets(view: CheckedConfig) -> Iterator[Complaint]:
    """Each secret must exist; warn of one that expires, or that others can read."""
    for path, value in walk(view.config):
        if not isinstance(value, Secret):
            continue
        where = spelled(path)
        if value.place == "inline":
            text = f"{where}: the secret is in the configuration itself: better use {{file: …}} or {{env: …}}"
            yield Complaint(path, text, "CFG-INLINE-SECRET", "warning")
        if value.expires:
            yield from _expiry(value.expires, path)
        try:
            value.reveal()
        except ValueError as error:
            yield Complaint(path, f"{where}: {error}", "CFG-SECRET")
            continue
        for text in value.warnings():
            yield Complaint(path, f"{where}: {text}", "CFG-SECRET-FILE", "warning")


def check_access_keys(view: CheckedConfig) -> Iterator[Complaint]:
    """The endpoint of ACS must be a host with TLS, its keys must be base64."""
    for name, provider in view.config.providers.items():
        if isinstance(provider, AcsSettings):
            yield from _access_keys(provider, ("providers", name))


def check_webhooks(view: CheckedConfig) -> Iterator[Complaint]:
    """Events must be encrypted when they leave this machine."""
    for path, value in walk(view.config):
        url = _text(value.url) if isinstance(value, WebhookSettings) else ""
        if url and not re.match("https?://[^/]", url):
            yield Complaint((*path, "url"), "expected https://host/…", "CFG-VALUE")
        elif url and endpoint.is_plain_remote(url):
            yield Complaint((*path, "url"), "http:// is for loopback only: use https://", "CFG-CLEAR-TEXT")


def check_endpoints(view: CheckedConfig) -> Iterator[Complaint]:
    """Twisted must understand each endpoint; some kinds read certificates for that."""
    for section in ("listeners", "http"):
        for n, place in enumerate(getattr(view.config, section)):
            reason = endpoint.complaint(place.endpoint)
            if reason:
                text = f'"{place.endpoint}" is not an endpoint: {reason}'
                yield Complaint((section, n, "endpoint"), text, "CFG-ENDPOINT")


CHECKS: Final = (check_secrets, check_access_keys, check_webhooks, check_endpoints)


def _expiry(day: date, path: Path) -> Iterator[Complaint]:
    left = (day - datetime.now(UTC).date()).days
    if left <= _SOON:
        text = f"{spelled(path)}: the secret {'expires' if left >= 0 else 'expired'} on {day}"
        yield Complaint(path, text, "CFG-EXPIRES", "warning")


def _text(secret: Secret) -> str:
    """Return the secret, ``""`` if it is missing, which :func:`check_secrets` reports."""
    try:
        return secret.reveal().strip()
    except ValueError:
        return ""


def _access_keys(provider: AcsSettings, path: Path) -> Iterator[Complaint]:
    from smtprelay.providers.acs import signature  # noqa: PLC0415 -- slow to import

    given: list[tuple[Path, Callable[[str], object], str]] = [
        ((*path, "access_keys", n), signature.parse_key, _text(key))
        for n, key in enumerate(provider.access_keys)
    ]
    # The other case is reported for every provider.
    if provider.endpoint and not endpoint.is_plain_remote(provider.endpoint):
        given.append(((*path, "endpoint"), signature.parse_endpoint, provider.endpoint))
    if provider.connection_string:
        text = _text(provider.connection_string)
        given.append(((*path, "connection_string"), signature.parse_connection_string, text))
    for place, parse, text in given:
        try:
            if text:
                parse(text)
        except ValueError as error:
            code = "CFG-CLEAR-TEXT" if isinstance(error, signature.ClearTextError) else "CFG-SECRET"
            yield Complaint(place, f"{spelled(place)}: {error}", code)
