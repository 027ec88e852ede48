"""
Builds the providers of a configuration from their settings; nothing is connected by that.
"""

from smtprelay.config.model import Config, DkimSettings
from smtprelay.interfaces import Provider
from smtprelay.mime.address import ascii_domain
from smtprelay.mime.dkim.headers import SIGNED
from smtprelay.mime.dkim.signature import SignatureRule
from smtprelay.providers.context import ProviderContext
from smtprelay.providers.outgoing import OutgoingProvider
from smtprelay.providers.registry import kind_of
from smtprelay.providers.signer import MailSigner, RuleKey
from smtprelay.settings.provider import ProviderSettings


def build_providers(config: Config, context: ProviderContext) -> dict[str, Provider]:
    """Return the providers of ``config`` by name; nothing is connected yet."""
    signer = build_signer(config, context)
    return {name: _built(name, each, config, context, signer) for name, each in config.providers.items()}


def build_signer(config: Config, context: ProviderContext) -> MailSigner | None:
    """Return what signs mail; ``None``: there is no key for that. No key is read yet."""
    keys = [RuleKey(signature_rule(each), each.required, each.key.reveal) for each in config.dkim]
    return MailSigner(keys, context.mime, context.events, context.defer_to_thread) if keys else None


def signature_rule(settings: DkimSettings) -> SignatureRule:
    """Return how a key signs."""
    header, _, body = settings.canonicalization.partition("/")
    return SignatureRule(
        domain=ascii_domain(settings.domain),
        selector=ascii_domain(settings.selector),
        names=SIGNED if settings.headers is None else tuple(name.lower() for name in settings.headers),
        relaxed_header=header == "relaxed",
        relaxed_body=body == "relaxed",
    )


def _built(
    name: str, settings: ProviderSettings, config: Config, context: ProviderContext, signer: MailSigner | None
) -> Provider:
    kind = kind_of(settings)
    provider = kind.build(name, settings, context)
    if not kind.raw:
        return provider
    return OutgoingProvider(
        provider,
        context.mime,
        hostname=context.hostname,
        bounces_from=config.bounces.from_,
        signer=signer,
    )
