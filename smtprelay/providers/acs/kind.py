"""
The settings of Azure Communication Services, and what must be right about them.
"""

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Final, Literal

from attrs import evolve, frozen

from smtprelay.model.network import is_plain_remote
from smtprelay.model.route import Limits
from smtprelay.providers.acs import signature
from smtprelay.providers.kind import ProviderKind
from smtprelay.settings import values
from smtprelay.settings.complaint import Complaint, Path, spelled
from smtprelay.settings.provider import HttpProviderSettings
from smtprelay.settings.secret import Secret

if TYPE_CHECKING:
    from smtprelay.interfaces import Provider
    from smtprelay.providers.context import ProviderContext

#: Limits that the service documents; the size is that of the whole request, after base64.
ACS_LIMITS: Final = Limits(request=10_000_000, recipients=50)


@frozen(kw_only=True)
class AcsSettings(HttpProviderSettings):
    """
    Azure Communication Services.

    :ivar connection_string: that of the resource (Azure portal: Settings, Keys). Or give ``endpoint`` and
        ``access_keys``. Example: ``{file: /run/secrets/acs, expires: 2027-01-31}``.
    :ivar endpoint: URL of the resource, with ``access_keys``. Instead of: ``connection_string``.
        Example: ``https://contoso.europe.communication.azure.com``.
    :ivar access_keys: one or two access keys of the resource; the second is used when the first is refused.
        Instead of: ``connection_string``.
        Example: ``[{file: /run/secrets/acs_key1}, {file: /run/secrets/acs_key2}]``.
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


def check_credentials(settings: AcsSettings, path: Path) -> Iterator[Complaint]:
    """There is one way to log in."""
    keys = len(settings.access_keys)
    if settings.connection_string and settings.endpoint:
        text = "connection_string names the endpoint: leave one of them out"
        yield Complaint((*path, "endpoint"), text, "CFG-VALUE")
    if settings.connection_string and keys:
        text = "connection_string and access_keys exclude each other"
        yield Complaint((*path, "access_keys"), text, "CFG-VALUE")
    elif not settings.connection_string and not (settings.endpoint and keys):
        yield Complaint(path, "connection_string is missing, or endpoint and access_keys", "CFG-MISSING")
    elif keys > 2:  # noqa: PLR2004 -- Azure has a primary and a secondary key
        yield Complaint((*path, "access_keys"), "expected one or two keys", "CFG-VALUE")


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


def build(name: str, settings: AcsSettings, context: "ProviderContext") -> "Provider":
    """Return the provider; nothing is connected yet."""
    # Slow to import.
    from smtprelay.providers.acs.api import AcsApi  # noqa: PLC0415
    from smtprelay.providers.acs.provider import Acs, AcsOptions  # noqa: PLC0415

    api = AcsApi(context.caller(name, settings, lambda: credentials_of(settings)))
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
    outside_checks=(check_secrets,),
)
