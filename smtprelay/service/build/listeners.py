"""
Builds what speaks SMTP at a listener, its policy, and what receives its mail.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import frozen
from twisted.cred.portal import Portal

from smtprelay.azure.login_tokens import LoginTokens
from smtprelay.config import checkers, listeners
from smtprelay.config.endpoint import is_proxied
from smtprelay.config.model import Config, RouteSettings
from smtprelay.dispatch.synchronous.incoming import SynchronousDeliveries
from smtprelay.interfaces import Events, Receive
from smtprelay.interfaces.spool import Spool
from smtprelay.model.message import Reply
from smtprelay.model.patterns import Patterns
from smtprelay.net.buffer_budget import Budget
from smtprelay.net.tls_server import ServerContext
from smtprelay.policy.avatar import ListenerRules, SessionContext
from smtprelay.policy.checkers.anonymous import AnonymousByNetwork
from smtprelay.policy.checkers.any_login import AnyLogin
from smtprelay.policy.checkers.azure_table import LoginRows, TableLogins
from smtprelay.policy.checkers.chain import CheckerChain
from smtprelay.policy.checkers.entra import EntraLogins, EntraPasswords
from smtprelay.policy.checkers.users import Users
from smtprelay.policy.login_throttle import LoginThrottle
from smtprelay.policy.networks import Networks
from smtprelay.policy.realm import Realm
from smtprelay.policy.router import RouteMatch, Router
from smtprelay.policy.sending_rate import SendingRate, SendingRates
from smtprelay.policy.settings import ListenerPolicy, Rights, User
from smtprelay.smtp.reply import ROUTES
from smtprelay.smtp.settings import ListenerSettings


@frozen
class Receiver:
    """
    Receives the mail of all listeners: into the spool, or to be delivered while its client waits.

    :ivar spool: ``None`` where all listeners are synchronous.
    :ivar budget: of memory.
    """

    spool: Spool | None
    synchronous: SynchronousDeliveries
    budget: Budget

    def receive(self, listener: listeners.Listener) -> Receive:
        """Return what receives the mail of a listener."""
        if listener.delivery == "synchronous":
            return self.synchronous.within(listener.reply_deadline)
        assert self.spool is not None
        return self.spool.incoming

    def refusal(self, listener: listeners.Listener, size: int) -> Reply | None:
        """Return why a listener can take no message of ``size`` bytes now, or ``None`` if it can."""
        refusal = self.budget.refusal()
        if refusal is not None or listener.delivery == "synchronous" or self.spool is None:
            return refusal
        return self.spool.refusal(size)


@frozen(kw_only=True)
class ClientCounts:
    """What a relay remembers of clients, also after a reload: wrong logins, and what was sent."""

    throttle: LoginThrottle
    rates: SendingRates


@frozen
class KnownLogins:
    """
    What remembers logins, for all listeners.

    :ivar users: passwords that were verified.
    :ivar tokens: those of clients that log in at Entra.
    :ivar tables: rows of tables, by the name of their checker.
    """

    users: Users
    tokens: LoginTokens
    tables: Mapping[str, LoginRows]


@frozen(kw_only=True)
class ListenerSetup:
    """
    What a listener does by one configuration.

    :ivar settings: what its sessions speak; ``context``: the rules of their transactions.
    :ivar checkers: who may log in.
    """

    listener: listeners.Listener
    settings: ListenerSettings
    context: SessionContext
    checkers: Sequence[Any]

    def portal(self, rules: ListenerRules) -> Portal:
        """Return where sessions log in that obey ``rules``."""
        return Portal(Realm(rules), self.checkers)


@frozen(kw_only=True)
class ListenerBuilder:
    """
    Builds what the listeners of a configuration do.

    :ivar counts: what is remembered of clients, for all listeners.
    :ivar new_id: makes message ids.
    :ivar clock: of the mail; seconds since the epoch.
    """

    config: Config
    router: Router
    logins: KnownLogins
    counts: ClientCounts
    receiver: Receiver
    new_id: Callable[[], str]
    clock: Any

    def setup(self, listener: listeners.Listener, reactor: Any, events: Events) -> ListenerSetup:
        """Return what ``listener`` does; raises ``CertificateError``."""
        policy = _policy(self.config, listener, self.router)
        tls = _tls(listener.tls, reactor, events)
        asked: list[Any] = [AnonymousByNetwork(policy)]
        if listener.auth.checkers:
            own = [self._checker(name, policy) for name in listener.auth.checkers]
            asked.append(CheckerChain(own, self.counts.throttle))
        return ListenerSetup(
            listener=listener,
            settings=_settings(self.config, listener, policy, tls, self._size_of(listener, policy.size)),
            context=SessionContext(
                listener=policy,
                router=self.router,
                receive=self.receiver.receive(listener),
                new_id=self.new_id,
                clock=self.clock,
                rates=self.counts.rates,
                admits=partial(self.receiver.refusal, listener),
            ),
            checkers=asked,
        )

    def _checker(self, name: str, policy: ListenerPolicy) -> Any:
        """Return the checker ``name``."""
        if name == listeners.USERS:
            return self.logins.users
        settings = self.config.checkers[name]
        if isinstance(settings, checkers.AnyChecker):
            return AnyLogin(policy.allow_from)
        passwords = EntraPasswords(self.logins.tokens, settings.token_request)
        if isinstance(settings, checkers.AzureTableChecker):
            rows = self.logins.tables[name]
            return TableLogins(rows, passwords, settings.delimiter, settings.required)
        return EntraLogins(passwords, settings.delimiter, frozenset(settings.tenants))

    def _size_of(self, listener: listeners.Listener, size: int | None) -> str:
        """Return which provider's limit is announced; ``""``: the listener's own."""
        if size is None or size == listener.limits.size:
            return ""
        return self.router.limited_to(size) or ROUTES


def _policy(config: Config, listener: listeners.Listener, router: Router) -> ListenerPolicy:
    return ListenerPolicy(
        name=listener.name,
        hostname=config.hostname,
        allow_from=_networks(listener.allow_from),
        allow_senders=_patterns(listener.allow_senders),
        allow_recipients=_patterns(listener.allow_recipients),
        tls_required=listener.tls.require == "always" and listener.tls.mode != "off",
        auth_required=listener.auth.required,
        has_logins=_has_logins(config, listener),
        one_delivery=listener.delivery == "synchronous",
        size=router.largest(listener.name, listener.limits.size),
        counts_content=router.counts_content(listener.name),
        keeps_subject=config.privacy.subjects,
        messages=_sending_rate(config, listener.limits.messages, "messages", "message-rate"),
        recipients=_sending_rate(config, listener.limits.recipients_rate, "recipients", "recipients-rate"),
    )


def _sending_rate(
    config: Config, limit: listeners.SendingLimit | None, what: str, rule: str
) -> SendingRate | None:
    """Return a rate, or each worker's share of it."""
    if limit is None:
        return None
    workers, burst = config.workers, limit.burst or limit.rate.count
    return SendingRate(
        what=what,
        per=limit.per,
        interval=limit.rate.seconds / limit.rate.count * workers,
        burst=-(-burst // workers),
        rule=rule,
    )


def _has_logins(config: Config, listener: listeners.Listener) -> bool:
    """Return whether clients outside ``allow_from`` can log in; the checker ``any`` is for those in it."""
    named = [config.checkers.get(name) for name in listener.auth.checkers or ()]  # None for the users
    known = any(not isinstance(each, checkers.AnyChecker) for each in named)
    return known and (listener.tls.mode != "off" or listener.auth.allow_plaintext)


def _settings(
    config: Config,
    listener: listeners.Listener,
    policy: ListenerPolicy,
    tls: ServerContext | None,
    size_of: str,
) -> ListenerSettings:
    limits = listener.limits
    return ListenerSettings(
        listener=listener.name,
        hostname=config.hostname,
        banner=listener.banner or "",
        size=limits.size if policy.size is None else policy.size,
        size_of=size_of,
        recipients=limits.recipients,
        connections=limits.connections,
        connections_per_client=limits.connections_per_client,
        bare_newlines=listener.bare_newlines,
        bare_newlines_from=policy.allow_from,
        proxy_trust=_networks(listener.proxy_trust) if is_proxied(listener.endpoint) else None,
        xclient_from=_networks(listener.proxy_trust if listener.xclient else ()),
        commands=limits.commands,
        errors=limits.errors,
        command_time=limits.command_time,
        data_rate=limits.data_rate,
        greet_delay=limits.greet_delay,
        tls=tls,
        tls_profile=listener.tls.profile,
        tls_implicit=listener.tls.mode == "implicit",
        tls_require=listener.tls.require if listener.tls.mode != "off" else "never",
        mechanisms=tuple(listener.auth.mechanisms) if listener.auth.checkers else (),
        auth_allow_plaintext=listener.auth.allow_plaintext,
    )


def _tls(tls: listeners.TlsSettings, reactor: Any, events: Events) -> ServerContext | None:
    """Return the TLS of a listener, or ``None`` if it has none; raises ``CertificateError``."""
    if not tls.sources:
        return None
    ciphers = tls.ciphers or ""
    return ServerContext(
        tls.sources, reactor, events, profile=tls.profile, ciphers=ciphers, client_ca=tls.client_ca
    )


def policy_user(config: Config, user: listeners.UserSettings) -> User:
    """Return a user as policy wants it."""
    limit = listeners.SendingLimit(rate=user.rate, per="user") if user.rate else None
    rights = Rights(
        senders=_patterns(user.senders),
        recipients=_patterns(user.recipients),
        force_from=user.force_from or "",
        rate=_sending_rate(config, limit, "messages", "user-rate"),
    )
    password = None if user.password is None else user.password.reveal
    return User(name=user.name, password_hash=user.password_hash or "", password=password, rights=rights)


def route_match(route: RouteSettings) -> RouteMatch:
    """Return a route's conditions as policy wants them."""
    match = route.match
    return RouteMatch(
        name=route.name,
        via=route.via,
        clients=_networks(match.client) if match.client else None,
        listeners=frozenset(match.listener) or None,
        users=frozenset(match.user) or None,
        senders=_patterns(match.sender),
        recipients=_patterns(match.recipient),
        headers=match.header,
        size_from=(match.size.smallest or 0) if match.size else 0,
        size_below=match.size.largest + 1 if match.size and match.size.largest is not None else None,
    )


def _networks(networks: Iterable[object]) -> Networks:
    return Networks.parse(str(network) for network in networks)


def _patterns(patterns: Sequence[str]) -> Patterns | None:
    return Patterns(tuple(patterns)) if patterns else None
