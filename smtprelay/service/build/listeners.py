"""
Builds the factory that speaks SMTP at a listener, with its policy.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import frozen
from twisted.cred.portal import Portal

from smtprelay.config import listeners
from smtprelay.config.model import Config, RouteSettings
from smtprelay.interfaces import Events, Provider, Receive
from smtprelay.model.fit import largest as largest_mail
from smtprelay.model.message import Reply
from smtprelay.net.tls_server import ServerContext
from smtprelay.net.worker_memory import WorkerMemory
from smtprelay.policy.avatar import SessionContext
from smtprelay.policy.checkers.anonymous import AnonymousByNetwork
from smtprelay.policy.checkers.any_login import AnyLogin
from smtprelay.policy.checkers.chain import CheckerChain
from smtprelay.policy.checkers.users import Users
from smtprelay.policy.login_throttle import LoginThrottle
from smtprelay.policy.networks import Networks, Patterns
from smtprelay.policy.realm import Realm
from smtprelay.policy.router import Router, Rule, largest
from smtprelay.policy.settings import ListenerPolicy, Rights, User
from smtprelay.smtp.factory import ESMTPFactory
from smtprelay.smtp.refusals import Refusals
from smtprelay.smtp.reply import ROUTES
from smtprelay.smtp.settings import ListenerSettings


@frozen(kw_only=True)
class ListenerFactory:
    """
    What all listeners of a relay share.

    :ivar rules: the routes' conditions, in their order.
    :ivar users: remembers verified passwords, for all listeners.
    :ivar throttle: remembers wrong ones, for all listeners.
    :ivar receive: returns what receives the mail of a listener: the spool, or synchronous delivery.
    :ivar admits: returns why a listener can take no message of so many bytes now, or ``None``.
    :ivar memory: what all workers count together; ``None``: there is one process.
    :ivar new_id: makes message ids.
    :ivar refusals: records what clients are refused.
    """

    config: Config
    providers: Mapping[str, Provider]
    rules: Sequence[Rule]
    users: Users
    throttle: LoginThrottle
    receive: Callable[[listeners.Listener], Receive]
    admits: Callable[[listeners.Listener, int], Reply | None]
    memory: WorkerMemory | None
    new_id: Callable[[], str]
    reactor: Any
    clock: Any
    events: Events
    refusals: Refusals

    def factory(self, listener: listeners.Listener) -> ESMTPFactory:
        """Return the factory of one listener."""
        size = largest(self.rules, self.providers, listener.name, listener.limits.size)
        policy = _policy(self.config, listener, size)
        context = SessionContext(
            listener=policy,
            router=Router(self.rules, self.providers),
            receive=self.receive(listener),
            new_id=self.new_id,
            clock=self.clock,
            admits=partial(self.admits, listener),
        )
        portal = Portal(Realm(context), [AnonymousByNetwork(policy)])
        if listener.auth.checkers:
            checkers = [self._checker(name, policy) for name in listener.auth.checkers]
            portal.registerChecker(CheckerChain(checkers, self.throttle))
        tls = _tls(listener.tls, self.reactor, self.events)
        settings = _settings(self.config, listener, policy, tls, self._size_of(listener, size))
        return ESMTPFactory(
            portal, settings, self.reactor, self.events, memory=self.memory, refusals=self.refusals
        )

    def _checker(self, name: str, policy: ListenerPolicy) -> Any:
        """Return the checker ``name``; other kinds are not in a configuration."""
        if name == listeners.USERS:
            return self.users
        assert isinstance(self.config.checkers[name], listeners.AnyChecker), name
        return AnyLogin(policy.allow_from)

    def _size_of(self, listener: listeners.Listener, size: int | None) -> str:
        """Return which provider's limit is announced; ``""``: the listener's own."""
        if size is None or size == listener.limits.size:
            return ""
        names = (name for rule in self.rules for name in rule.via)
        return next((name for name in names if largest_mail(self.providers[name]) == size), ROUTES)


def _policy(config: Config, listener: listeners.Listener, size: int | None) -> ListenerPolicy:
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
        size=size,
    )


def _has_logins(config: Config, listener: listeners.Listener) -> bool:
    """Say whether anybody can log in who is not in ``allow_from``, for whom the checker ``any`` is."""
    checkers = [config.checkers.get(name) for name in listener.auth.checkers or ()]  # None for the users
    known = any(not isinstance(checker, listeners.AnyChecker) for checker in checkers)
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
        command_time=limits.command_time,
        tls=tls,
        tls_profile=listener.tls.profile,
        tls_implicit=listener.tls.mode == "implicit",
        tls_require=listener.tls.require if listener.tls.mode != "off" else "never",
        mechanisms=tuple(listener.auth.mechanisms) if listener.auth.checkers else (),
        auth_allow_plaintext=listener.auth.allow_plaintext,
    )


def _tls(tls: listeners.TlsSettings, reactor: Any, events: Events) -> ServerContext | None:
    """Return the TLS of a listener, or ``None`` if it has none; raises ``CertificateError``."""
    if tls.mode == "off" or tls.certificate is None:
        return None
    return ServerContext(
        tls.certificate,
        tls.key or tls.certificate,
        reactor,
        events,
        profile=tls.profile,
        ciphers=tls.ciphers or "",
    )


def policy_user(user: listeners.UserSettings) -> User:
    """Return a user as policy wants it."""
    rights = Rights(
        senders=_patterns(user.senders),
        recipients=_patterns(user.recipients),
        force_from=user.force_from or "",
    )
    return User(name=user.name, password_hash=user.password_hash, rights=rights)


def rule(route: RouteSettings) -> Rule:
    """Return a route's conditions as policy wants them."""
    match = route.match
    return Rule(
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
