"""
Settings that contradict each other: unknown names, duplicates, mail without a provider.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from attrs import fields

from smtprelay.config import endpoint
from smtprelay.config.checkers import AzureTableChecker, EntraChecker
from smtprelay.config.checks import CheckedConfig
from smtprelay.config.listeners import USERS, Listener, UserSettings
from smtprelay.config.model import Match, RouteSettings
from smtprelay.model.route import WEBHOOK
from smtprelay.providers.registry import kind_of
from smtprelay.settings.complaint import Complaint, Path, did_you_mean

#: Seconds for which a client waits for the reply to the end of data (RFC 5321 §4.5.3.2.6).
_PATIENCE: Final = 600

#: Mechanisms that send the password, so that any secret of a user serves them; what the others need.
_WITH_PASSWORD: Final = frozenset({"PLAIN", "LOGIN"})
_SCRAM: Final = "users with a password, or a hash by `smtprelay hash-password --scram`"
_NEEDS: Final = {
    "CRAM-MD5": "users with a password, not its hash",
    "SCRAM-SHA-256": _SCRAM,
    "SCRAM-SHA-256-PLUS": _SCRAM,
}

ConfigCheck = Callable[[CheckedConfig], Iterator[Complaint]]


def check_sections(view: CheckedConfig) -> Iterator[Complaint]:
    """There must be listeners, providers, and routes between them."""
    config = view.config
    for section in ("listeners", "providers"):
        if not getattr(config, section) and view.whole(section):
            yield Complaint((section,), f'"{section}" is missing: give at least one', "CFG-MISSING")
    if not config.routes and len(config.providers) > 1 and view.whole("routes"):
        text = '"routes" is missing: say which provider gets which mail'
        yield Complaint(("routes",), text, "CFG-MISSING")


def check_references(view: CheckedConfig) -> Iterator[Complaint]:
    """Each name must be the name of something."""
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


def _users(view: CheckedConfig, route: RouteSettings, n: int) -> Iterator[Complaint]:
    """An unknown user may still be known to another checker."""
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


def check_logins(view: CheckedConfig) -> Iterator[Complaint]:
    """A user has one secret, and it is one for the mechanisms that are offered."""
    users, listeners = view.config.users, view.config.listeners
    by_certificate = any("EXTERNAL" in listener.auth.mechanisms for listener in listeners)
    for n, user in enumerate(users):
        if not _has_secret(user) and not by_certificate and view.whole("users", n):
            text = "there is neither password nor password_hash: nobody can log in"
            yield Complaint(("users", n), text, "CFG-MISSING")
        elif user.password is not None and user.password_hash is not None:
            text = "password_hash does not count beside password: remove one of them"
            yield Complaint(("users", n, "password_hash"), text, "CFG-VALUE", "warning")
    for n, listener in enumerate(listeners):
        yield from _certificates(listener, ("listeners", n))
        checkers = listener.auth.checkers or ()
        for m, mechanism in enumerate(listener.auth.mechanisms if checkers else ()):
            path = ("listeners", n, "auth", "mechanisms", m)
            unfit = [user.name for user in users if _has_secret(user) and not _serves(user, mechanism)]
            if mechanism not in _WITH_PASSWORD and USERS not in checkers:
                text = f"nobody can log in by {mechanism}: it is for the checker {USERS} alone"
                yield Complaint(path, text, "CFG-AUTH", "warning")
            elif unfit and view.whole("users"):
                text = f'{mechanism} needs {_NEEDS[mechanism]}, which "{unfit[0]}" does not have'
                yield Complaint(path, text, "CFG-AUTH", "warning")


def _certificates(listener: Listener, path: Path) -> Iterator[Complaint]:
    """EXTERNAL and ``client_ca`` need each other."""
    asks, offers = listener.tls.client_ca is not None, "EXTERNAL" in listener.auth.mechanisms
    if offers and not asks:
        text = "EXTERNAL needs tls.client_ca: clients are not asked for a certificate"
        yield Complaint((*path, "auth", "mechanisms"), text, "CFG-AUTH", "warning")
    elif asks and not offers:
        text = "client_ca is for EXTERNAL, which auth.mechanisms does not have"
        yield Complaint((*path, "tls", "client_ca"), text, "CFG-AUTH", "warning")


def _has_secret(user: UserSettings) -> bool:
    return user.password is not None or user.password_hash is not None


def _serves(user: UserSettings, mechanism: str) -> bool:
    if mechanism == "EXTERNAL":
        return True
    hashed = (user.password_hash or "").startswith("$scram-")
    return mechanism in _WITH_PASSWORD or user.password is not None or (hashed and mechanism != "CRAM-MD5")


def check_duplicates(view: CheckedConfig) -> Iterator[Complaint]:
    """Names and endpoints must be unique."""
    config = view.config
    for section in ("listeners", "users", "routes"):
        names = [((section, n, "name"), name) for n, name in enumerate(view.listed_names(section))]
        yield from _twice(names, "the name")
    places = [
        ((section, n, "endpoint"), each.endpoint)
        for section in ("listeners", "http")
        for n, each in enumerate(getattr(config, section))
        if not endpoint.is_anywhere(each.endpoint)
    ]
    yield from _twice(places, "the endpoint")
    for n, route in enumerate(config.routes):
        yield from _twice(
            ((("routes", n, "via", m), name) for m, name in enumerate(route.via)), "the provider"
        )
    for n, site in enumerate(config.http):
        tokens = enumerate(site.tokens)
        yield from _twice(((("http", n, "tokens", m, "name"), token.name) for m, token in tokens), "the name")
    if "users" in config.checkers:
        yield Complaint(
            ("checkers", "users"),
            'the name "users" stands for the list of users: choose another one',
            "CFG-DUPLICATE",
        )


def check_routes(view: CheckedConfig) -> Iterator[Complaint]:
    """Routes behind one without conditions never match."""
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
            text = "retry.first is 0: mail would be tried again without a pause"
            yield Complaint(("routes", n, "retry", "first"), text, "CFG-VALUE")


def check_webhooks(view: CheckedConfig) -> Iterator[Complaint]:
    """Events for a webhook need its URL, and a spool that keeps them."""
    config = view.config
    notifying = [(n, route) for n, route in enumerate(config.routes) if route.uses_webhook]
    for n, route in notifying:
        if route.webhook is None and config.webhook is None and view.whole("webhook"):
            text = '"webhook" is missing: it has the URL for the events'
            yield Complaint(("routes", n), text, "CFG-MISSING")
        if config.spool is None:
            text = "events for a webhook need a spool, which keeps them until they are delivered"
            yield Complaint(("routes", n), text, "CFG-MISSING")
        if route.name == WEBHOOK:
            text = f'the name "{WEBHOOK}" stands for the events for webhooks: choose another one'
            yield Complaint(("routes", n, "name"), text, "CFG-DUPLICATE")
    if notifying and WEBHOOK in config.providers:
        text = f'the name "{WEBHOOK}" stands for the built-in provider for webhooks: choose another one'
        yield Complaint(("providers", WEBHOOK), text, "CFG-DUPLICATE")


def check_providers(view: CheckedConfig) -> Iterator[Complaint]:
    """What each provider's own checks find."""
    for name, provider in view.config.providers.items():
        if view.whole("providers", name):
            for check in kind_of(provider).checks:
                yield from check(provider, ("providers", name))


def check_spool(view: CheckedConfig) -> Iterator[Complaint]:
    """The spool needs a place, and bodies are kept no longer than the history."""
    config = view.config
    spool = config.spool
    if spool is None:
        return
    if spool.retention.bodies > spool.retention.history:
        text = "bodies is longer than history: bodies are deleted with the history"
        yield Complaint(("spool", "retention", "bodies"), text, "CFG-VALUE")
    if spool.engine == "postgres" and not spool.url and view.whole("spool"):
        yield Complaint(("spool",), '"url" is missing: it names the PostgreSQL database', "CFG-MISSING")


def check_own_logins(view: CheckedConfig) -> Iterator[Complaint]:
    """A login of a client is used at once, or kept sealed; reports to senders have none."""
    config = view.config
    using = [name for name, provider in config.providers.items() if provider.uses_login]
    if not using:
        return
    sealed = config.spool is not None and config.spool.seal_key is not None
    for n, listener in enumerate(config.listeners):
        named = [config.checkers.get(name) for name in listener.auth.checkers or ()]
        own = any(isinstance(each, EntraChecker | AzureTableChecker) for each in named)
        if own and listener.delivery == "spool" and not sealed and view.whole("spool"):
            text = (
                f'"{using[0]}" sends with the logins of clients, which cannot be kept without spool.seal_key'
            )
            yield Complaint(
                ("listeners", n), f"{text}: set it, or delivery: synchronous for this listener", "CFG-MISSING"
            )
    text = f'"{using[0]}" sends with the logins of clients, and a report to a sender has none'
    for n, name in enumerate(config.bounces.via):
        if name in using:
            yield Complaint(("bounces", "via", n), text, "CFG-VALUE")
    if not config.bounces.via and view.whole("bounces"):
        # Without a spool only who was refused in part of a mail is told of it later.
        severity = "warning" if config.spool is None else "error"
        yield Complaint((), f"{text}: name another provider in bounces.via", "CFG-MISSING", severity)


def check_workers(view: CheckedConfig) -> Iterator[Complaint]:
    """Workers need a spool that they can share, or none; then they divide the limits of each provider."""
    config = view.config
    if config.workers == 1 or not view.whole("spool"):
        return
    if config.spool is None:
        yield from _shares(view)
    elif config.spool.engine != "postgres":
        storing = [listener.name for listener in config.listeners if listener.delivery == "spool"]
        remedy = (
            f"set spool.engine: postgres, or workers: 1, or only use listeners with delivery: synchronous;"
            f' the listener "{storing[0]}" stores mail'
            if storing
            else "remove spool, which no synchronous listener needs, or set spool.engine: postgres"
        )
        default = ", the default" if config.spool.engine == "sqlite" else ""
        engine = f"{config.spool.engine}{default}"
        text = f"{config.workers} workers cannot share a spool of the engine {engine}: {remedy}"
        yield Complaint(("workers",), text, "CFG-WORKERS")


def _shares(view: CheckedConfig) -> Iterator[Complaint]:
    """Without a spool the workers divide what a provider takes at once."""
    workers = view.config.workers
    for name, provider in view.config.providers.items():
        most = provider.concurrency
        if most < workers and view.whole("providers", name):
            text = f'the provider "{name}" takes {most} at once, fewer than there are workers, {workers}'
            text = f"{text}: set workers to {most} at most, or raise providers.{name}.concurrency"
            yield Complaint(("providers", name, "concurrency"), text, "CFG-WORKERS")


def check_services(view: CheckedConfig) -> Iterator[Complaint]:
    """Listeners accept mail, sites serve something, and levels are those of loggers."""
    for n, listener in enumerate(view.config.listeners):
        if not listener.limits.size:
            yield Complaint(
                ("listeners", n, "limits", "size"), "size is 0: all mail would be refused", "CFG-VALUE"
            )
        yield from _deadline(listener, ("listeners", n, "reply_deadline"))
    for n, site in enumerate(view.config.http):
        if not site.serve and view.whole("http", n):
            yield Complaint(("http", n, "serve"), "serve names nothing", "CFG-VALUE")
        if "dashboard" in site.serve and "api" not in site.serve:
            text = "dashboard needs api, too"
            yield Complaint(("http", n, "serve"), text, "CFG-VALUE", "warning")
    ours = [name for name in view.config.logging.levels if name.startswith("smtprelay")]
    known = _loggers() if ours else ()
    for name in ours:
        if name not in known:
            text = f'unknown logger "{name}"{did_you_mean(name, known)}'
            yield Complaint(("logging", "levels", name), text, "CFG-UNKNOWN-NAME", "warning")


def _deadline(listener: Listener, path: Path) -> Iterator[Complaint]:
    deadline = listener.reply_deadline
    if deadline > _PATIENCE:
        text = "reply_deadline is longer than 10 minutes, which is as long as clients wait"
        yield Complaint(path, text, "CFG-VALUE", "warning")
    elif listener.delivery == "spool" and deadline != fields(Listener).reply_deadline.default:
        yield Complaint(path, "reply_deadline is for delivery: synchronous only", "CFG-VALUE", "warning")


def _loggers() -> Collection[str]:
    # Twisted's logger takes 150 ms to import.
    from smtprelay.telemetry.log import EVENTS, namespace  # noqa: PLC0415
    from smtprelay.telemetry.log_writer import STATIONS  # noqa: PLC0415

    return {"smtprelay", *map(namespace, EVENTS), *STATIONS.values()}


CHECKS: Final[tuple[ConfigCheck, ...]] = (
    check_sections,
    check_references,
    check_logins,
    check_duplicates,
    check_routes,
    check_webhooks,
    check_providers,
    check_services,
    check_spool,
    check_own_logins,
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
