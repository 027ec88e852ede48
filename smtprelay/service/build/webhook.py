"""
The webhooks of a configuration: the built-in provider, and what makes its messages.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from smtprelay.config.model import Config
from smtprelay.config.model import WebhookSettings as Settings
from smtprelay.dispatch.webhook import WebhookNotifier
from smtprelay.interfaces import Provider
from smtprelay.model.attempt import NewMessage
from smtprelay.model.message import Envelope, Planned, Recipient
from smtprelay.model.route import WEBHOOK, RateLimit
from smtprelay.providers.call import Caller
from smtprelay.providers.context import ProviderContext
from smtprelay.providers.webhook import Webhook, WebhookTarget, checked, key_of
from smtprelay.service.build.bounces import internal_draft
from smtprelay.settings.provider import HttpProviderSettings

#: Events are small, and so are their receivers; one that hangs must not delay the others.
RATE_LIMIT: Final = RateLimit(concurrency=10, per_lane=4)


def is_used(config: Config) -> bool:
    """Tell whether a route sends events to a webhook."""
    return any(route.uses_webhook for route in config.routes)


def webhook_rate_limits(config: Config) -> dict[str, RateLimit]:
    """Return the rate of the built-in provider, by its name; nothing if no route needs it."""
    return {WEBHOOK: RATE_LIMIT} if is_used(config) else {}


def build_webhook(config: Config, context: ProviderContext) -> dict[str, Provider]:
    """Return the built-in provider, by its name; nothing if no route needs it."""
    if not is_used(config):
        return {}
    targets = {name: _target(each, context) for name, each in _settings(config).items()}
    return {WEBHOOK: Webhook(targets, context.reactor)}


def build_notifier(config: Config, new_id: Callable[[], str], clock: IReactorTime) -> WebhookNotifier | None:
    """Return what makes events; ``None`` if no route sends any."""

    def post(route: str, event: bytes, about: str) -> NewMessage:
        hook = route if route in _settings(config) else WEBHOOK
        recipients = (Recipient(address=hook),)
        draft = internal_draft(WEBHOOK, Envelope(sender="", recipients=recipients), about, new_id, clock)
        planned = Planned(route=WEBHOOK, provider=WEBHOOK, lane=hook, recipients=recipients)
        return NewMessage(draft=draft, body=event, planned=(planned,), subject=f"Event about {about}")

    return WebhookNotifier(post=post, mask=config.privacy.mask) if is_used(config) else None


def _settings(config: Config) -> dict[str, Settings]:
    """Return the webhooks by the names of their lanes."""
    own = {route.name: route.webhook for route in config.routes if route.webhook is not None}
    return own if config.webhook is None else {**own, WEBHOOK: config.webhook}


def _target(settings: Settings, context: ProviderContext) -> Caller[WebhookTarget]:
    assert RATE_LIMIT.per_lane is not None
    client = HttpProviderSettings(
        type=WEBHOOK,
        concurrency=RATE_LIMIT.per_lane,
        timeout=settings.timeout,
        ca=settings.ca,
        proxy=settings.proxy,
        no_proxy=settings.no_proxy,
    )
    secret = settings.secret.reveal if settings.secret else lambda: ""
    return context.caller(WEBHOOK, client, lambda: (checked(settings.url.reveal()), key_of(secret())))
