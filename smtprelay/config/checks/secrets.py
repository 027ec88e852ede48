"""
What the settings point to outside of the file: secrets, and what Twisted can listen on.

These look at the machine, so they hold for the machine and the user that the relay
runs as; :func:`smtprelay.config.load` can leave them out.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Final

from smtprelay.config import endpoint
from smtprelay.config.checks.view import Complaint, View, walk
from smtprelay.config.model import WebhookSettings
from smtprelay.config.provider_settings import AcsSettings
from smtprelay.config.secret import Secret
from smtprelay.config.tree import Path, spelled

#: From so many days before a secret expires each start warns of it.
_SOON: Final = 30


def check_secrets(view: View) -> Iterator[Complaint]:
    """Each secret must be there; warn of one that expires, or that others can see."""
    for path, value in walk(view.config):
        if not isinstance(value, Secret):
            continue
        where = spelled(path)
        if value.place == "inline":
            text = f"{where}: the secret stands in the file itself; better {{file: …}} or {{env: …}}"
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


def check_access_keys(view: View) -> Iterator[Complaint]:
    """The endpoint of ACS is a host, its keys are base64, and nothing goes in clear text."""
    for name, provider in view.config.providers.items():
        if isinstance(provider, AcsSettings):
            yield from _access_keys(provider, ("providers", name))


def check_webhooks(view: View) -> Iterator[Complaint]:
    """Events leave this machine only encrypted."""
    for path, value in walk(view.config):
        url = _text(value.url) if isinstance(value, WebhookSettings) else ""
        if url and not re.match("https?://[^/]", url):
            yield Complaint((*path, "url"), "expected https://host/…", "CFG-VALUE")
        elif url and endpoint.is_plain_remote(url):
            yield Complaint((*path, "url"), "http:// is for loopback only: use https://", "CFG-CLEAR-TEXT")


def check_endpoints(view: View) -> Iterator[Complaint]:
    """Twisted must know what an endpoint means; some kinds read certificates for that."""
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
    """Return the secret, ``""`` if it is not there: :func:`check_secrets` says that."""
    try:
        return secret.reveal().strip()
    except ValueError:
        return ""


def _access_keys(provider: AcsSettings, path: Path) -> Iterator[Complaint]:
    from smtprelay.providers.acs import signature  # noqa: PLC0415 -- as dear as Twisted

    given: list[tuple[Path, Callable[[str], object], str]] = [
        ((*path, "access_keys", n), signature.parse_key, _text(key))
        for n, key in enumerate(provider.access_keys)
    ]
    # The other case is told of every provider.
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
