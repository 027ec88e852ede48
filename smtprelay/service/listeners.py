"""
From the settings of a listener to a factory that speaks SMTP, with its policy behind it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import frozen
from twisted.cred.portal import Portal

from smtprelay.config import listeners
from smtprelay.config.model import Config, Route
from smtprelay.interfaces import Events, Provider, Receive
from smtprelay.message import Reply
from smtprelay.policy.access import Networks, Patterns
from smtprelay.policy.checkers import AnonymousByNetwork, Users
from smtprelay.policy.delivery import Desk
from smtprelay.policy.realm import Realm
from smtprelay.policy.route import Router, Rule, largest
from smtprelay.policy.settings import ListenerPolicy, User
from smtprelay.smtp.elsewhere import Elsewhere
from smtprelay.smtp.factory import ESMTPFactory
from smtprelay.smtp.settings import Settings
from smtprelay.tls import ServerContext


@frozen(kw_only=True)
class Reception:
    """
    What all listeners of a relay share.

    :ivar rules: the routes' conditions, in their order.
    :ivar checker: knows the users, and remembers for all listeners who was verified or guessed wrong.
    :ivar receive: gives what takes the mail of a listener: the spool, or synchronous delivery.
    :ivar admits: why a listener can take no message of so many bytes now, or ``None``.
    :ivar elsewhere: gives what other processes have at a listener.
    :ivar new_id: makes message ids.
    """

    config: Config
    providers: Mapping[str, Provider]
    rules: Sequence[Rule]
    users: Sequence[User]
    checker: Users
    receive: Callable[[listeners.Listener], Receive]
    admits: Callable[[listeners.Listener, int], Reply | None]
    elsewhere: Callable[[str], Elsewhere]
    new_id: Callable[[], str]
    reactor: Any
    clock: Any
    events: Events

    def factory(self, listener: listeners.Listener) -> ESMTPFactory:
        """Return the factory of one listener."""
        size = largest(self.rules, self.providers, listener.name, listener.limits.size)
        policy = _policy(self.config, listener, size)
        desk = Desk(
            listener=policy,
            router=Router(self.rules, self.providers),
            receive=self.receive(listener),
            new_id=self.new_id,
            clock=self.clock,
            admits=partial(self.admits, listener),
        )
        portal = Portal(Realm(desk, self.users), [AnonymousByNetwork(policy)])
        if policy.has_checkers:
            portal.registerChecker(self.checker)
        tls = _tls(listener.tls, self.reactor, self.events)
        settings = _settings(self.config, listener, policy, tls)
        return ESMTPFactory(portal, settings, self.reactor, self.events, self.elsewhere(listener.name))


def _policy(config: Config, listener: listeners.Listener, size: int | None) -> ListenerPolicy:
    return ListenerPolicy(
        name=listener.name,
        hostname=config.hostname,
        allow_from=_networks(listener.allow_from),
        allow_senders=_patterns(listener.allow_senders),
        allow_recipients=_patterns(listener.allow_recipients),
        tls_required=listener.tls.require == "always" and listener.tls.mode != "off",
        auth_required=listener.auth.required,
        has_checkers=bool(listener.auth.checkers),
        one_delivery=listener.delivery == "synchronous",
        size=size,
    )


def _settings(
    config: Config, listener: listeners.Listener, policy: ListenerPolicy, tls: ServerContext | None
) -> Settings:
    limits = listener.limits
    return Settings(
        listener=listener.name,
        hostname=config.hostname,
        banner=listener.banner or "",
        size=limits.size if policy.size is None else policy.size,
        recipients=limits.recipients,
        connections=limits.connections,
        connections_per_client=limits.connections_per_client,
        bare_newlines=listener.bare_newlines,
        tls=tls,
        tls_implicit=listener.tls.mode == "implicit",
        tls_require=listener.tls.require if listener.tls.mode != "off" else "never",
        mechanisms=tuple(listener.auth.mechanisms) if policy.has_checkers else (),
        auth_allow_plaintext=listener.auth.allow_plaintext,
    )


def _tls(tls: listeners.TlsSettings, reactor: Any, events: Events) -> ServerContext | None:
    """Return the TLS of a listener, or ``None`` if it has none; raises ``CertificateError``."""
    if tls.mode == "off" or tls.certificate is None:
        return None
    return ServerContext(
        tls.certificate, tls.key or tls.certificate, reactor, events, ciphers=tls.ciphers or ""
    )


def policy_user(user: listeners.User) -> User:
    """Return a user's rights as policy wants them."""
    return User(
        name=user.name,
        password_hash=user.password_hash,
        senders=_patterns(user.senders),
        recipients=_patterns(user.recipients),
        force_from=user.force_from or "",
    )


def rule(route: Route) -> Rule:
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
