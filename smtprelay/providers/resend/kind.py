"""
The settings of Resend, and its limits.
"""

from typing import TYPE_CHECKING, Final, Literal

from attrs import frozen

from smtprelay.model.route import Limits
from smtprelay.providers.kind import ProviderKind
from smtprelay.settings.provider import HttpProviderSettings
from smtprelay.settings.secret import Secret

if TYPE_CHECKING:
    from smtprelay.interfaces import Provider
    from smtprelay.providers.context import ProviderContext

#: What the service documents; the size is that of the whole request, after base64.
RESEND_LIMITS: Final = Limits(request=40_000_000, recipients=50)


@frozen(kw_only=True)
class ResendSettings(HttpProviderSettings):
    """
    Resend.

    :ivar api_key: a key that may send. Example: ``{file: /run/secrets/resend}``.
    """

    type: Literal["resend"]
    api_key: Secret


def build(name: str, settings: ResendSettings, context: "ProviderContext") -> "Provider":
    """Return the provider; nothing is connected yet."""
    # Slow to import.
    from smtprelay.http.credentials import api_key  # noqa: PLC0415
    from smtprelay.providers.resend.provider import Resend  # noqa: PLC0415

    endpoint = (settings.endpoint or "https://api.resend.com").rstrip("/")
    caller = context.caller(name, settings, lambda: api_key(settings.api_key.reveal()))
    return Resend(caller, endpoint, limits=settings.limits, worker=context.mime, events=context.events)


RESEND: Final = ProviderKind(settings=ResendSettings, build=build, limits=RESEND_LIMITS)
