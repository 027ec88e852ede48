"""
Builds the providers of a configuration from their settings; nothing is connected by that.
"""

from smtprelay.config.model import Config
from smtprelay.interfaces import Provider
from smtprelay.providers.context import ProviderContext
from smtprelay.providers.outgoing import OutgoingProvider
from smtprelay.providers.registry import kind_of
from smtprelay.settings.provider import ProviderSettings


def build_providers(config: Config, context: ProviderContext) -> dict[str, Provider]:
    """Return the providers of ``config`` by name; nothing is connected yet."""
    return {name: _built(name, each, config, context) for name, each in config.providers.items()}


def _built(name: str, settings: ProviderSettings, config: Config, context: ProviderContext) -> Provider:
    kind = kind_of(settings)
    provider = kind.build(name, settings, context)
    if not kind.raw:
        return provider
    return OutgoingProvider(
        provider, context.mime, hostname=context.hostname, bounces_from=config.bounces.from_
    )
