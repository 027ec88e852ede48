"""
Builds the providers of a configuration from their settings; nothing is connected by that.
"""

from smtprelay.config.checkers import AzureTableChecker
from smtprelay.config.model import Config, DkimSettings, DkimTableSettings
from smtprelay.config.rewrite import RewriteSettings, SandboxSettings
from smtprelay.interfaces import Provider
from smtprelay.mime.dkim.signature import SignatureRule, signature_rule
from smtprelay.mime.rewrite import RewriteRule
from smtprelay.model.patterns import Patterns
from smtprelay.providers.context import ProviderContext
from smtprelay.providers.outgoing import OutgoingProvider
from smtprelay.providers.registry import kind_of
from smtprelay.providers.rewriting import RewritingProvider
from smtprelay.providers.sandbox import SandboxProvider
from smtprelay.providers.signer import MailSigner, RuleKey
from smtprelay.providers.table_keys import AzureKeyTable, TableKeyReader
from smtprelay.settings.provider import ProviderSettings
from smtprelay.settings.secret import in_file


def build_providers(config: Config, context: ProviderContext) -> dict[str, Provider]:
    """Return the providers of ``config`` by name; nothing is connected yet."""
    signer = build_signer(config, context)
    built = {name: _built(name, each, config, context, signer) for name, each in config.providers.items()}
    if config.sandbox is not None:
        built = _within_sandbox(config.sandbox, built)
    routes = {route.name: rewrite_rule(route.rewrite) for route in config.routes if route.rewrite is not None}
    users = {user.name: RewriteRule(author=user.force_from) for user in config.users if user.force_from}
    has_rows = any(isinstance(checker, AzureTableChecker) for checker in config.checkers.values())
    if routes or users or has_rows:
        built = {
            name: RewritingProvider(provider, context.mime, routes=routes, users=users)
            for name, provider in built.items()
        }
    return built


def _within_sandbox(sandbox: SandboxSettings, built: dict[str, Provider]) -> dict[str, Provider]:
    allowed, place = Patterns(tuple(sandbox.allow)), built[sandbox.via]
    return {
        name: provider if provider is place else SandboxProvider(provider, place, allowed)
        for name, provider in built.items()
    }


def rewrite_rule(settings: RewriteSettings) -> RewriteRule:
    """Return how the mail of a route is rewritten."""
    return RewriteRule(
        author=settings.from_ or "",
        kept_domains=settings.keep_from_domains,
        reply_to=settings.reply_to or "",
        recipients=tuple(settings.recipients.items()),
        added=tuple(settings.add_headers.items()),
        removed=settings.remove_headers,
    )


def build_signer(config: Config, context: ProviderContext) -> MailSigner | None:
    """Return what signs mail; ``None``: there is no key for that. No key is read yet."""
    keys = [RuleKey(rule_of(each), each.required, each.key.reveal) for each in config.dkim]
    table = None if config.dkim_table is None else _key_table(config.dkim_table, context)
    if not keys and table is None:
        return None
    signer = MailSigner(keys, context.mime, context.events, context.defer_to_thread, table)
    context.signers.append(signer)
    return signer


def rule_of(settings: DkimSettings) -> SignatureRule:
    """Return how a key signs."""
    return signature_rule(settings.domain, settings.selector, settings.canonicalization, settings.headers)


def _key_table(settings: DkimTableSettings, context: ProviderContext) -> AzureKeyTable:
    reader = TableKeyReader(
        settings.required != "none",
        lambda path: in_file(path, f"file {path}").reveal,
        context.defer_to_thread,
        context.events,
    )
    return AzureKeyTable(context.table_source("dkim_table", settings, reader.keys), settings.required)


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
