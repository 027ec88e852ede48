"""
What can only be seen when the settings are looked at together.

Here: names that lead nowhere, things given twice, mail that would have no way. What
could be abused is in :mod:`~smtprelay.config.checks.security`, what lies outside of the file
in :mod:`~smtprelay.config.checks.secrets`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from attrs import fields

from smtprelay.config import endpoint
from smtprelay.config.checks.view import Complaint, View
from smtprelay.config.listeners import Listener
from smtprelay.config.model import Match, RouteSettings
from smtprelay.config.problem import did_you_mean
from smtprelay.config.provider_settings import AcsSettings, SmarthostSettings
from smtprelay.config.tree import Path

#: A client waits so long for the reply to the end of data, seconds (RFC 5321 §4.5.3.2.6).
_PATIENCE: Final = 600

#: By the port of a smarthost; at 25 and 587 the one is as likely as the other.
_USUAL_TLS: Final = {25: "starttls", 465: "implicit", 587: "starttls"}

#: The provider, and the route, of the events that go to webhooks.
WEBHOOK: Final = "webhook"

Check = Callable[[View], Iterator[Complaint]]


def check_sections(view: View) -> Iterator[Complaint]:
    """There must be a way in, a way out, and a way between them."""
    config = view.config
    for section in ("listeners", "providers"):
        if not getattr(config, section) and view.whole(section):
            yield Complaint((section,), f'"{section}" is missing: nothing to do without any', "CFG-MISSING")
    if not config.routes and len(config.providers) > 1 and view.whole("routes"):
        yield Complaint(("routes",), '"routes" is missing: there are several providers', "CFG-MISSING")


def check_references(view: View) -> Iterator[Complaint]:
    """A name must lead to something."""
    config = view.config
    providers = view.names("providers")
    for n, route in enumerate(config.routes):
        if not route.via:
            yield Complaint(("routes", n, "via"), "via names no provider", "CFG-VALUE")
        yield from _unknown("provider", route.via, providers, ("routes", n, "via"))
        yield from _users(view, route, n)
        if view.whole("listeners"):
            listeners = view.listed_names("listeners")
            yield from _unknown(
                "listener", route.match.listener, listeners, ("routes", n, "match", "listener")
            )
    yield from _unknown("provider", config.bounces.via, providers, ("bounces", "via"))
    checkers = view.names("checkers")
    known = None if checkers is None else ("users", *checkers)
    for n, listener in enumerate(config.listeners):
        yield from _unknown(
            "checker", listener.auth.checkers or (), known, ("listeners", n, "auth", "checkers")
        )


def _users(view: View, route: RouteSettings, n: int) -> Iterator[Complaint]:
    """A name that is none of the users' may still be one that another checker takes."""
    known = (*view.listed_names("users"), "*")
    checkers = view.names("checkers")
    if checkers is None or not view.whole("users"):
        return
    for m, name in enumerate(route.match.user):
        if name not in known:
            others = f": only {' or '.join(checkers)} may know it" if checkers else ""
            text = f'unknown user "{name}"{did_you_mean(name, known)}{others}'
            severity = "warning" if checkers else "error"
            yield Complaint(("routes", n, "match", "user", m), text, "CFG-UNKNOWN-NAME", severity)


def check_duplicates(view: View) -> Iterator[Complaint]:
    """Nothing may be there twice."""
    config = view.config
    for section in ("listeners", "users", "routes"):
        names = [((section, n, "name"), name) for n, name in enumerate(view.listed_names(section))]
        yield from _twice(names, "the name")
    listeners = [
        (("listeners", n, "endpoint"), listener.endpoint) for n, listener in enumerate(config.listeners)
    ]
    sites = [(("http", n, "endpoint"), site.endpoint) for n, site in enumerate(config.http)]
    fixed = [(path, place) for path, place in [*listeners, *sites] if not endpoint.is_anywhere(place)]
    yield from _twice(fixed, "the endpoint")
    for n, route in enumerate(config.routes):
        yield from _twice(
            [(("routes", n, "via", m), name) for m, name in enumerate(route.via)], "the provider"
        )
    for n, site in enumerate(config.http):
        yield from _twice(
            [(("http", n, "tokens", m, "name"), t.name) for m, t in enumerate(site.tokens)], "the name"
        )
    if "users" in config.checkers:
        yield Complaint(
            ("checkers", "users"), 'the name "users" is that of the list of users', "CFG-DUPLICATE"
        )


def check_routes(view: View) -> Iterator[Complaint]:
    """Behind a route without conditions nothing can match."""
    taken = ""
    for n, route in enumerate(view.config.routes):
        if taken:
            text = f'"{route.name}" can never match: "{taken}" before it has no condition'
            yield Complaint(("routes", n), text, "CFG-UNREACHABLE", "warning")
        if route.match == Match() and view.whole("routes", n):
            taken = taken or route.name
        if route.retry.max < route.retry.first:
            text = "retry.max is shorter than retry.first"
            yield Complaint(("routes", n, "retry", "max"), text, "CFG-VALUE")
        if not route.retry.first:
            text = "retry.first is 0: a mail would be tried again at once, for ever"
            yield Complaint(("routes", n, "retry", "first"), text, "CFG-VALUE")


def check_webhooks(view: View) -> Iterator[Complaint]:
    """What is told to a webhook needs one, and a spool that keeps it until it is told."""
    config = view.config
    announcing = [(n, route) for n, route in enumerate(config.routes) if route.announces]
    for n, route in announcing:
        if route.webhook is None and config.webhook is None and view.whole("webhook"):
            text = '"webhook" is missing: it says where the events go'
            yield Complaint(("routes", n), text, "CFG-MISSING")
        if config.spool is None:
            text = "events for a webhook need a spool, which keeps them until they are told"
            yield Complaint(("routes", n), text, "CFG-MISSING")
        if route.name == WEBHOOK:
            text = f'the name "{WEBHOOK}" is that of the events for webhooks'
            yield Complaint(("routes", n, "name"), text, "CFG-DUPLICATE")
    if announcing and WEBHOOK in config.providers:
        text = f'the name "{WEBHOOK}" is that of the built-in provider for webhooks'
        yield Complaint(("providers", WEBHOOK), text, "CFG-DUPLICATE")


def check_providers(view: View) -> Iterator[Complaint]:
    """A provider must know how to log in, in one way."""
    for name, provider in view.config.providers.items():
        if view.whole("providers", name):
            if isinstance(provider, AcsSettings):
                yield from _acs(provider, ("providers", name))
            elif isinstance(provider, SmarthostSettings):
                yield from _smarthost(provider, ("providers", name))


def check_spool(view: View) -> Iterator[Complaint]:
    """What is kept must have a place."""
    config = view.config
    spool = config.spool
    if spool is None:
        return
    if spool.retention.bodies > spool.retention.history:
        text = "bodies is longer than history: what is forgotten has no body any more"
        yield Complaint(("spool", "retention", "bodies"), text, "CFG-VALUE")
    if spool.engine == "postgres" and not spool.url and view.whole("spool"):
        yield Complaint(("spool",), '"url" is missing: it says where the PostgreSQL is', "CFG-MISSING")


def check_workers(view: View) -> Iterator[Complaint]:
    """Several processes need a spool that they can share."""
    config = view.config
    if config.workers == 1:
        return
    if config.spool is None or config.spool.engine != "postgres":
        text = "more than one worker needs a spool that they can share: spool.engine postgres"
        yield Complaint(("workers",), text, "CFG-WORKERS")


def check_services(view: View) -> Iterator[Complaint]:
    """What is there must do something."""
    for n, listener in enumerate(view.config.listeners):
        if not listener.limits.size:
            yield Complaint(("listeners", n, "limits", "size"), "size is 0: no mail would fit", "CFG-VALUE")
        yield from _deadline(listener, ("listeners", n, "reply_deadline"))
    for n, site in enumerate(view.config.http):
        if not site.serve and view.whole("http", n):
            yield Complaint(("http", n, "serve"), "serve names nothing", "CFG-VALUE")
        if "dashboard" in site.serve and "api" not in site.serve:
            text = "the dashboard shows nothing without api beside it"
            yield Complaint(("http", n, "serve"), text, "CFG-VALUE", "warning")
    ours = [name for name in view.config.logging.levels if name.startswith("smtprelay")]
    known = _loggers() if ours else ()
    for name in ours:
        if name not in known:
            text = f'nothing logs as "{name}"{did_you_mean(name, known)}'
            yield Complaint(("logging", "levels", name), text, "CFG-UNKNOWN-NAME", "warning")


def _deadline(listener: Listener, path: Path) -> Iterator[Complaint]:
    deadline = listener.reply_deadline
    if deadline > _PATIENCE:
        text = "reply_deadline is longer than 10 minutes, which is as long as clients wait"
        yield Complaint(path, text, "CFG-VALUE", "warning")
    elif listener.delivery == "spool" and deadline != fields(Listener).reply_deadline.default:
        yield Complaint(path, "reply_deadline is for delivery: synchronous only", "CFG-VALUE", "warning")


def _loggers() -> Collection[str]:
    # Twisted's logger takes 150 ms to import, and few ask for levels.
    from smtprelay.telemetry.log import EVENTS, namespace  # noqa: PLC0415
    from smtprelay.telemetry.log_writer import STATIONS  # noqa: PLC0415

    return {"smtprelay", *map(namespace, EVENTS), *STATIONS.values()}


CHECKS: Final[tuple[Check, ...]] = (
    check_sections,
    check_references,
    check_duplicates,
    check_routes,
    check_webhooks,
    check_providers,
    check_services,
    check_spool,
    check_workers,
)


def _unknown(
    what: str, names: Iterable[str], known: Collection[str] | None, path: Path
) -> Iterator[Complaint]:
    if known is None:
        return
    for n, name in enumerate(names):
        if name not in known:
            yield Complaint(
                (*path, n), f'unknown {what} "{name}"{did_you_mean(name, known)}', "CFG-UNKNOWN-NAME"
            )


def _twice(named: Iterable[tuple[Path, str]], what: str) -> Iterator[Complaint]:
    seen: set[str] = set()
    for path, name in named:
        if name in seen:
            yield Complaint(path, f'{what} "{name}" is given twice', "CFG-DUPLICATE")
        seen.add(name)


def _acs(provider: AcsSettings, path: Path) -> Iterator[Complaint]:
    keys = len(provider.access_keys)
    if provider.connection_string and provider.endpoint:
        text = "connection_string names the endpoint: leave one of them out"
        yield Complaint((*path, "endpoint"), text, "CFG-VALUE")
    if provider.connection_string and keys:
        text = "connection_string and access_keys exclude each other"
        yield Complaint((*path, "access_keys"), text, "CFG-VALUE")
    elif not provider.connection_string and not (provider.endpoint and keys):
        yield Complaint(path, "connection_string is missing, or endpoint and access_keys", "CFG-MISSING")
    elif keys > 2:  # noqa: PLR2004 -- Azure has a primary and a secondary key
        yield Complaint((*path, "access_keys"), "expected one or two", "CFG-VALUE")
    yield from _blind(provider, path)


def _blind(provider: AcsSettings, path: Path) -> Iterator[Complaint]:
    if provider.blind == "together" and provider.blind_to is None:
        yield Complaint(
            path, '"blind_to" is missing: with blind: together it is the address in To', "CFG-MISSING"
        )
    if provider.blind == "single" and provider.blind_to is not None:
        text = "blind_to is for blind: together; without that each blind recipient gets a request"
        yield Complaint((*path, "blind_to"), text, "CFG-VALUE", "warning")
    elif provider.blind_to is not None and not _is_sendable(provider.blind_to):
        text = "expected an address that the service takes: name@host.example"
        yield Complaint((*path, "blind_to"), text, "CFG-VALUE")
    if provider.blind == "together" and provider.limits.recipients == 1:
        text = "recipients is 1: there is no room for anybody beside blind_to"
        yield Complaint((*path, "limits", "recipients"), text, "CFG-VALUE")


def _is_sendable(address: str) -> bool:
    # What reads mail takes a while to import, and few ask for this.
    from smtprelay.providers.acs.fields import sendable  # noqa: PLC0415

    return bool(sendable(address))


def _smarthost(provider: SmarthostSettings, path: Path) -> Iterator[Complaint]:
    if (provider.username is None) != (provider.password is None):
        missing = "username" if provider.username is None else "password"
        text = f'"{missing}" is missing: username and password belong together'
        yield Complaint(path, text, "CFG-MISSING")
    usual = _USUAL_TLS.get(provider.port or 0, provider.tls)
    if usual != provider.tls and "implicit" in {usual, provider.tls}:
        text = f"servers expect tls: {usual} at port {provider.port}"
        yield Complaint((*path, "port"), text, "CFG-TLS", "warning")
