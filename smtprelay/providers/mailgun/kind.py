"""
The settings of Mailgun, and its limits.
"""

from typing import TYPE_CHECKING, Final, Literal

from attrs import frozen

from smtprelay.model.route import Limits
from smtprelay.providers.kind import ProviderKind
from smtprelay.settings import values
from smtprelay.settings.provider import HttpProviderSettings
from smtprelay.settings.secret import Secret

if TYPE_CHECKING:
    from smtprelay.interfaces import Provider
    from smtprelay.providers.context import ProviderContext

#: What the service documents.
MAILGUN_LIMITS: Final = Limits(request=25_000_000, recipients=1000)

_ENDPOINTS: Final = {"us": "https://api.mailgun.net", "eu": "https://api.eu.mailgun.net"}


@frozen(kw_only=True)
class MailgunSettings(HttpProviderSettings):
    """
    Mailgun.

    :ivar domain: the domain of the account that mail is sent through. Example: ``mg.example.com``.
    :ivar api_key: a sending key of the domain, or a key of the account.
        Example: ``{file: /run/secrets/mailgun}``.
    :ivar region: where the domain is: ``us`` or ``eu``.
    :ivar endpoint: URL of the API; ``http://`` only on loopback. Default: the region's.
        Example: ``https://api.eu.mailgun.net``.
    :ivar x_mailgun_headers: fields ``X-Mailgun-…`` of clients, which are commands to Mailgun: ``drop`` or
        ``keep`` them.
    """

    type: Literal["mailgun"]
    domain: values.Domain
    api_key: Secret
    region: Literal["us", "eu"] = "us"
    x_mailgun_headers: Literal["drop", "keep"] = "drop"


def build(name: str, settings: MailgunSettings, context: "ProviderContext") -> "Provider":
    """Return the provider; nothing is connected yet."""
    # Slow to import.
    from smtprelay.http.credentials import api_key  # noqa: PLC0415
    from smtprelay.providers.mailgun.provider import Mailgun  # noqa: PLC0415

    endpoint = (settings.endpoint or _ENDPOINTS[settings.region]).rstrip("/")
    return Mailgun(
        context.caller(name, settings, lambda: api_key(settings.api_key.reveal())),
        endpoint,
        settings.domain,
        limits=settings.limits,
        keep_commands=settings.x_mailgun_headers == "keep",
    )


MAILGUN: Final = ProviderKind(settings=MailgunSettings, build=build, limits=MAILGUN_LIMITS, raw=True)
