"""
What could be abused: open relays, passwords and mail in clear text.
"""

from collections.abc import Iterator
from typing import Final

from attrs import fields

from smtprelay.config.checkers import AnyChecker, AzureTableChecker, EntraChecker
from smtprelay.config.checks import CheckedConfig
from smtprelay.config.endpoint import is_encrypted, is_local, is_proxied
from smtprelay.config.listeners import Listener
from smtprelay.model.network import is_plain_remote, too_wide
from smtprelay.settings.complaint import Complaint, Path, loopback_only
from smtprelay.settings.provider import HttpProviderSettings


def check_listeners(view: CheckedConfig) -> Iterator[Complaint]:
    """A listener must not be an open relay, or take passwords in clear text, by mistake."""
    for n, listener in enumerate(view.config.listeners):
        if view.whole("listeners", n):
            path = ("listeners", n)
            yield from _open_relay(view, listener, path)
            yield from _tls(listener, path)
            yield from _auth(view, listener, path)
            yield from _plain_passwords(view, listener, path)
            yield from _order(view, listener, path)
            yield from _tenants(view, listener, path)
            yield from _required_rows(view, listener, path)
            yield from _proxy(listener, path)


def check_sites(view: CheckedConfig) -> Iterator[Complaint]:
    """The page and the API need tokens, except on loopback."""
    for n, site in enumerate(view.config.http):
        shown = {"dashboard", "api"} & set(site.serve)
        if shown and not site.tokens and not is_local(site.endpoint) and view.whole("http", n):
            text = f"{' and '.join(sorted(shown))} need tokens, except on loopback (interface=127.0.0.1)"
            yield Complaint(("http", n, "endpoint"), text, "CFG-NO-TOKENS")


def check_clear_text(view: CheckedConfig) -> Iterator[Complaint]:
    """Mail and credentials must be encrypted when they leave this machine."""
    for name, provider in view.config.providers.items():
        if (
            isinstance(provider, HttpProviderSettings)
            and provider.endpoint
            and is_plain_remote(provider.endpoint)
        ):
            yield loopback_only(("providers", name, "endpoint"))


CHECKS: Final = (check_listeners, check_sites, check_clear_text)


def _open_relay(view: CheckedConfig, listener: Listener, path: Path) -> Iterator[Complaint]:
    wide = too_wide(listener.allow_from)
    names = listener.auth.checkers or ()
    protected = listener.auth.required and not any(
        isinstance(view.config.checkers.get(name), AnyChecker) for name in names
    )
    if not wide or protected or _restricts_recipients(listener):
        return
    text = f"{wide} may send to anyone without logging in: this is an open relay"
    if listener.open_relay:
        yield Complaint((*path, "open_relay"), text, "CFG-OPEN-RELAY", "warning")
    else:
        more = "; require auth, restrict allow_recipients, or say open_relay: accepted"
        yield Complaint((*path, "allow_from"), text + more, "CFG-OPEN-RELAY")


def _restricts_recipients(listener: Listener) -> bool:
    return bool(listener.allow_recipients) and all(map(_is_restricted, listener.allow_recipients))


def _is_restricted(pattern: str) -> bool:
    """Return whether ``pattern`` is for domains of one owner, not for all or for a top-level domain."""
    before, star, behind = pattern.rpartition("@")[2].rpartition("*")
    return "." in behind.lstrip(".") if star else bool(before or behind)


def _plain_passwords(view: CheckedConfig, listener: Listener, path: Path) -> Iterator[Complaint]:
    """Plain logins from other machines can be read on the network."""
    encrypted = listener.tls.mode == "implicit" or is_encrypted(listener.endpoint)
    encrypted |= listener.tls.require == "always"
    checkers = [view.config.checkers.get(name) for name in listener.auth.checkers or ()]
    checked = not all(isinstance(checker, AnyChecker) for checker in checkers)
    checked &= not {"PLAIN", "LOGIN"}.isdisjoint(listener.auth.mechanisms)
    if listener.auth.allow_plaintext and checked and not encrypted and not _is_near(listener):
        text = "passwords cross the network in clear text, unless the client uses TLS"
        yield Complaint((*path, "auth", "allow_plaintext"), text, "CFG-CLEAR-TEXT", "warning")


def _tenants(view: CheckedConfig, listener: Listener, path: Path) -> Iterator[Complaint]:
    """Whoever can log in is known, for anybody can have a tenant of Entra; or sends as himself alone."""
    if _sends_with_logins(view, listener):
        return
    for n, name in enumerate(listener.auth.checkers or ()):
        checker = view.config.checkers.get(name)
        if isinstance(checker, EntraChecker) and not checker.tenants and not _restricts_recipients(listener):
            text = f'"{name}" takes applications of every tenant of Microsoft Entra: this is an open relay'
            if listener.open_relay:
                yield Complaint((*path, "open_relay"), text, "CFG-OPEN-RELAY", "warning")
            else:
                more = f"; set checkers.{name}.tenants, or restrict allow_recipients"
                yield Complaint((*path, "auth", "checkers", n), text + more, "CFG-OPEN-RELAY")


def _sends_with_logins(view: CheckedConfig, listener: Listener) -> bool:
    """Return whether all mail of a listener is sent with the logins of its clients."""
    config = view.config
    names = [
        name
        for route in config.routes
        if not route.match.listener or listener.name in route.match.listener
        for name in route.via
    ]
    providers = [config.providers.get(name) for name in names]
    return bool(names) and all(each is not None and each.uses_login for each in providers)


def _required_rows(view: CheckedConfig, listener: Listener, path: Path) -> Iterator[Complaint]:
    """Where every application needs a row, no other checker takes one without."""
    named = {name: view.config.checkers.get(name) for name in listener.auth.checkers or ()}
    tables = [name for name, each in named.items() if isinstance(each, AzureTableChecker) and each.required]
    for n, name in enumerate(named):
        if tables and isinstance(named[name], EntraChecker):
            text = f'"{name}" takes applications without a row of "{tables[0]}", whose required is true'
            yield Complaint((*path, "auth", "checkers", n), f"{text}: remove one of the two", "CFG-AUTH")


def _order(view: CheckedConfig, listener: Listener, path: Path) -> Iterator[Complaint]:
    """A checker of the type ``any`` must be the last, else the checkers behind it are never asked."""
    *before, last = listener.auth.checkers or ("",)
    for name in before:
        if isinstance(view.config.checkers.get(name), AnyChecker):
            text = f'"{name}" takes every name with every password, so "{last}" is never asked: name it last'
            yield Complaint((*path, "auth", "checkers"), text, "CFG-AUTH")


def _tls(listener: Listener, path: Path) -> Iterator[Complaint]:
    tls = listener.tls
    if tls.mode != "off" and not tls.sources:
        yield Complaint((*path, "tls"), f'"certificate" is missing: tls.mode is {tls.mode}', "CFG-MISSING")
    for n, each in enumerate(tls.certificates):
        if not each.certificate:
            yield Complaint((*path, "tls", "certificates", n), '"certificate" is missing', "CFG-MISSING")
    if tls.mode != "off" and is_encrypted(listener.endpoint):
        yield Complaint(
            (*path, "tls", "mode"), "the endpoint itself uses TLS: remove one of the two", "CFG-TLS"
        )
    if tls.mode == "off" and tls.require == "always" and not is_encrypted(listener.endpoint):
        yield Complaint((*path, "tls", "require"), "TLS is required, but tls.mode is off", "CFG-TLS")


def _auth(view: CheckedConfig, listener: Listener, path: Path) -> Iterator[Complaint]:
    auth = listener.auth
    if auth.required and not auth.checkers:
        if view.whole("users") and view.whole("checkers"):
            text = "a login is required, but there are no users and no checkers"
            yield Complaint((*path, "auth", "required"), text, "CFG-AUTH")
    elif auth.required and not _takes_logins(listener):
        text = "a login is required, but not offered without TLS: set tls, or auth.allow_plaintext: true"
        yield Complaint((*path, "auth", "required"), text, "CFG-AUTH")
    elif auth.checkers and not _takes_logins(listener) and not _is_near(listener):
        # Without a section auth the users may have another listener.
        silent = view.mark((*path, "auth")) == view.mark(path)
        if not (silent and any(map(_takes_logins, view.config.listeners))):
            text = "logins are not offered here: set tls, or auth.allow_plaintext: true"
            yield Complaint((*path, "auth"), text, "CFG-AUTH", "warning")


def _proxy(listener: Listener, path: Path) -> Iterator[Complaint]:
    """Only a proxy may say who its clients are, and it says so before TLS begins."""
    proxied, trust = is_proxied(listener.endpoint), listener.proxy_trust
    if proxied and is_encrypted(listener.endpoint):
        text = "the PROXY header comes before TLS: use haproxy:tcp:… with tls.mode: implicit"
        yield Complaint((*path, "endpoint"), text, "CFG-PROXY")
    used = proxied or listener.xclient
    if used and (wide := too_wide(trust)):
        text = f"{wide} may claim to be any client: name the addresses of the proxies alone"
        yield Complaint((*path, "proxy_trust"), text, "CFG-PROXY")
    if not used and trust and trust != fields(Listener).proxy_trust.default:
        text = "proxy_trust is for endpoints with haproxy: in front (haproxy:tcp:2525), and for xclient"
        yield Complaint((*path, "proxy_trust"), text, "CFG-PROXY", "warning")


def _is_near(listener: Listener) -> bool:
    """Return whether all clients are on this machine."""
    return is_local(listener.endpoint) and not is_proxied(listener.endpoint)


def _takes_logins(listener: Listener) -> bool:
    return listener.tls.mode != "off" or is_encrypted(listener.endpoint) or listener.auth.allow_plaintext
