"""
The settings of Azure Communication Services, and what must be right about them.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Literal

from attrs import evolve, frozen

from smtprelay.azure.clouds import CLOUDS, scope
from smtprelay.model.network import is_plain_remote
from smtprelay.model.route import Limits
from smtprelay.providers.acs import signature
from smtprelay.providers.kind import ProviderKind
from smtprelay.settings import values
from smtprelay.settings.complaint import Complaint, Path, spelled
from smtprelay.settings.entra import (
    ENTRA_KEYS,
    EntraProviderSettings,
    check_entra,
    check_identity_library,
)
from smtprelay.settings.secret import Secret

if TYPE_CHECKING:
    from smtprelay.interfaces import Provider
    from smtprelay.providers.call import Caller
    from smtprelay.providers.context import ProviderContext

#: Limits that the service documents; the size is that of the whole request, after base64.
ACS_LIMITS: Final = Limits(request=10_000_000, recipients=50)


@frozen(kw_only=True)
class AcsSettings(EntraProviderSettings):
    """
    Azure Communication Services, with its keys or with Microsoft Entra.

    :ivar connection_string: that of the resource (Azure portal: Settings, Keys). Or give ``endpoint`` with
        ``access_keys``, or with an application of Entra.
        Example: ``{file: /run/secrets/acs, expires: 2027-01-31}``.
    :ivar endpoint: URL of the resource, with ``access_keys`` or an application of Entra.
        Instead of: ``connection_string``.
        Example: ``https://contoso.europe.communication.azure.com``.
    :ivar access_keys: one or two access keys of the resource; the second is used when the first is refused.
        Instead of: ``connection_string``.
        Example: ``[{file: /run/secrets/acs_key1}, {file: /run/secrets/acs_key2}]``.
    :ivar tenant: Instead of: ``access_keys``.
    :ivar client_id: Instead of: ``access_keys``.
    :ivar client_secret: Instead of: ``access_keys``.
    :ivar credential: Instead of: ``access_keys``.
    :ivar certificate: Instead of: ``access_keys``.
    :ivar certificate_password: Instead of: ``access_keys``.
    :ivar scope: what a token of Entra is for. Default: that of the service in ``cloud``.
        Example: ``https://communication.azure.com//.default``.
    :ivar sender: the address that mail is sent from, unless its sender is in ``sender_domains``.
        Example: ``DoNotReply@mail.example.com``.
    :ivar sender_domains: domains connected to the resource; mail from their addresses keeps its sender.
        Example: ``[mail.example.com]``.
    :ivar blind: mail whose recipients are neither in To nor in Cc: ``single`` sends a request for each
        recipient, ``together`` one request with all of them in Bcc. Example: ``together``.
    :ivar blind_to: the address in To of such mail, with ``blind: together``. It receives the mail, too.
        Example: ``undisclosed@mail.example.com``.
    :ivar engagement_tracking: ``false``: the service does not count who opens the mail and its links, for
        which it changes the HTML; ``true``: it does, if its domain is set so. Default: as the domain is set
        in the portal. Example: ``false``.
    :ivar accept_on: a mail counts as delivered when its operation has ``succeeded``, or already when the
        request is answered with ``202``.
    """

    type: Literal["acs"]
    connection_string: Secret | None = None
    access_keys: tuple[Secret, ...] = ()
    scope: values.Text | None = None
    sender: values.Address
    sender_domains: tuple[values.Domain, ...] = ()
    blind: Literal["single", "together"] = "single"
    blind_to: values.Address | None = None
    engagement_tracking: values.Flag | None = None
    accept_on: Literal["succeeded", "202"] = "succeeded"

    @property
    def author_domains(self) -> Collection[str]:
        """Those of its senders."""
        return {*self.sender_domains, self.sender.rpartition("@")[2]}

    @property
    def entra_keys(self) -> Sequence[str]:
        """Those of the settings of an application of Entra that are given."""
        return [key for key in ENTRA_KEYS if getattr(self, key) is not None]


def check_credentials(settings: AcsSettings, path: Path) -> Iterator[Complaint]:
    """There is one way to log in."""
    keys = len(settings.access_keys)
    if settings.connection_string and settings.endpoint:
        text = "connection_string names the endpoint: leave one of them out"
        yield Complaint((*path, "endpoint"), text, "CFG-VALUE")
    if settings.connection_string and keys:
        text = "connection_string and access_keys exclude each other"
        yield Complaint((*path, "access_keys"), text, "CFG-VALUE")
    elif settings.entra_keys:
        yield from _check_entra(settings, path)
    elif not settings.connection_string and not (settings.endpoint and keys):
        text = "connection_string is missing, or endpoint with access_keys or with an application of Entra"
        yield Complaint(path, text, "CFG-MISSING")
    elif keys > 2:  # noqa: PLR2004 -- Azure has a primary and a secondary key
        yield Complaint((*path, "access_keys"), "expected one or two keys", "CFG-VALUE")


def _check_entra(settings: AcsSettings, path: Path) -> Iterator[Complaint]:
    key = "connection_string" if settings.connection_string else "access_keys" if settings.access_keys else ""
    if key:
        first = settings.entra_keys[0]
        text = f"{first} is for Entra, {key} for keys: leave one of them out"
        yield Complaint((*path, first), text, "CFG-VALUE")
        return
    if settings.endpoint is None:
        yield Complaint(path, "endpoint is missing: with Entra it is the URL of the resource", "CFG-MISSING")
    if settings.scope is None and not CLOUDS[settings.cloud].communication:
        text = f"the service is not known in cloud {settings.cloud}: set scope"
        yield Complaint((*path, "cloud"), text, "CFG-VALUE")
    yield from check_entra(settings, path)


def check_blind(settings: AcsSettings, path: Path) -> Iterator[Complaint]:
    """Mail to blind recipients together has an address in To, and room for a recipient."""
    if settings.blind == "together" and settings.blind_to is None:
        yield Complaint(
            path, '"blind_to" is missing: with blind: together it is the address in To', "CFG-MISSING"
        )
    if settings.blind == "single" and settings.blind_to is not None:
        text = "blind_to is only used with blind: together"
        yield Complaint((*path, "blind_to"), text, "CFG-VALUE", "warning")
    elif settings.blind_to is not None and not _is_sendable(settings.blind_to):
        text = "expected an address that the service accepts: name@host.example"
        yield Complaint((*path, "blind_to"), text, "CFG-VALUE")
    if settings.blind == "together" and settings.limits.recipients == 1:
        text = "recipients is 1: with blind_to in To there is no room for a recipient"
        yield Complaint((*path, "limits", "recipients"), text, "CFG-VALUE")


def _is_sendable(address: str) -> bool:
    from smtprelay.providers.json_mail import sendable  # noqa: PLC0415 -- slow to import

    return bool(sendable(address))


def check_secrets(settings: AcsSettings, path: Path) -> Iterator[Complaint]:
    """The endpoint must be a host with TLS, the keys must be base64."""
    given: list[tuple[Path, Callable[[str], object], str]] = [
        ((*path, "access_keys", n), signature.parse_key, key.text())
        for n, key in enumerate(settings.access_keys)
    ]
    # The other case is reported for every provider.
    if settings.endpoint and not is_plain_remote(settings.endpoint):
        given.append(((*path, "endpoint"), signature.parse_endpoint, settings.endpoint))
    if settings.connection_string:
        text = settings.connection_string.text()
        given.append(((*path, "connection_string"), signature.parse_connection_string, text))
    for place, parse, text in given:
        try:
            if text:
                parse(text)
        except ValueError as error:
            code = "CFG-CLEAR-TEXT" if isinstance(error, signature.ClearTextError) else "CFG-SECRET"
            yield Complaint(place, f"{spelled(place)}: {error}", code)


def credentials_of(settings: AcsSettings) -> signature.Credentials:
    """Read the secrets again: an operator may have replaced them."""
    keys = tuple(signature.parse_key(key.reveal()) for key in settings.access_keys)
    if settings.connection_string is None:
        return signature.Credentials(signature.parse_endpoint(settings.endpoint or ""), keys)
    known = signature.parse_connection_string(settings.connection_string.reveal())
    return evolve(known, keys=(*known.keys, *keys))


def caller_of(
    name: str, settings: AcsSettings, context: "ProviderContext"
) -> "Caller[signature.Credentials]":
    """Return what sends the requests: with the keys, or with a token of Entra."""
    if not settings.entra_keys:
        return context.caller(name, settings, lambda: credentials_of(settings))
    # Slow to import.
    from smtprelay.http.credentials import MappedSource  # noqa: PLC0415

    resource = CLOUDS[settings.cloud].communication
    token = context.entra_token(name, settings, settings.application, settings.scope or scope(resource))
    endpoint = signature.parse_endpoint(settings.endpoint or "")
    source = MappedSource(token, lambda text: signature.Credentials(endpoint, token=text))
    return context.caller_with(name, settings, source)


def build(name: str, settings: AcsSettings, context: "ProviderContext") -> "Provider":
    """Return the provider; nothing is connected yet."""
    # Slow to import.
    from smtprelay.providers.acs.api import AcsApi  # noqa: PLC0415
    from smtprelay.providers.acs.provider import Acs, AcsOptions  # noqa: PLC0415

    api = AcsApi(caller_of(name, settings, context))
    options = AcsOptions(
        sender=settings.sender,
        sender_domains=settings.sender_domains,
        blind_to=settings.blind_to if settings.blind == "together" and settings.blind_to else "",
        engagement_tracking=settings.engagement_tracking,
        accept_on=settings.accept_on,
        limits=settings.limits,
    )
    return Acs(api, options, worker=context.mime, clock=context.reactor, events=context.events)


ACS: Final = ProviderKind(
    settings=AcsSettings,
    build=build,
    limits=ACS_LIMITS,
    checks=(check_credentials, check_blind),
    outside_checks=(check_secrets, check_identity_library),
)
