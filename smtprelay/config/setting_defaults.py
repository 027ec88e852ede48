"""
The defaults that depend on other settings or on the machine.
"""

import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import asdict, evolve, has

from smtprelay.config.checkers import AnyChecker, Checker
from smtprelay.config.listeners import Listener
from smtprelay.config.model import Config, RouteSettings, SpoolSettings, Supervise
from smtprelay.config.setting import settings_in
from smtprelay.providers.registry import kind_of
from smtprelay.settings.complaint import below
from smtprelay.settings.provider import ProviderSettings, ProxySettings

#: The folder of the control socket without a spool's folder, if the user may write there; the CLI looks
#: there.
RUNTIME: Final = "/run/smtprelay"


def complete(config: Config, environ: Mapping[str, str]) -> Config:
    """Return ``config`` with these defaults."""
    hostname = config.hostname or socket.gethostname()
    config = evolve(config, spool=_spool(config))
    return evolve(
        config,
        hostname=hostname,
        control_socket=config.control_socket or _control(config, environ),
        listeners=tuple(_listener(listener, config) for listener in config.listeners),
        checkers={name: _checker(each, environ) for name, each in config.checkers.items()},
        providers={name: _provider(each, hostname, environ) for name, each in config.providers.items()},
        routes=_routes(config, environ),
        key_vault=config.key_vault and config.key_vault.with_environment(environ),
        dkim_table=config.dkim_table and config.dkim_table.with_environment(environ),
        webhook=config.webhook and config.webhook.with_environment(environ),
        supervise=config.supervise or (Supervise() if config.workers > 1 else None),
        bounces=evolve(config.bounces, from_=config.bounces.from_ or f"MAILER-DAEMON@{hostname}"),
    )


def _control(config: Config, environ: Mapping[str, str]) -> str:
    # systemd may give several folders with colons between them.
    folder = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    spool = config.spool
    if not folder and spool is not None and spool.engine == "sqlite":
        folder = spool.path
    return str(Path(folder or next(filter(_is_ours, runtime_folders(environ)), RUNTIME), "control.sock"))


def runtime_folders(environ: Mapping[str, str]) -> list[str]:
    """Return the folders for a control socket without a spool's folder; the first usable one is taken."""
    own = environ.get("XDG_RUNTIME_DIR", "")
    users = [f"{own}/smtprelay"] if own.startswith("/") else []
    return [RUNTIME, *users, f"{tempfile.gettempdir()}/smtprelay-{os.getuid()}"]


def _is_ours(folder: str) -> bool:
    """Return whether this user can create a socket in ``folder``, or the folder itself."""
    there = folder if os.path.lexists(folder) else str(Path(folder).parent)
    return os.access(there, os.W_OK | os.X_OK)


def _spool(config: Config) -> SpoolSettings | None:
    """Return the spool; ``None`` if all listeners are synchronous and none is configured."""
    needed = not config.listeners or any(listener.delivery == "spool" for listener in config.listeners)
    return config.spool or (SpoolSettings() if needed else None)


def _listener(listener: Listener, config: Config) -> Listener:
    auth = listener.auth
    if auth.checkers is None:
        auth = evolve(auth, checkers=("users",) if config.users else ())
    return evolve(listener, name=listener.name or listener.endpoint, auth=auth)


def _provider(provider: ProviderSettings, hostname: str, environ: Mapping[str, str]) -> ProviderSettings:
    given = asdict(provider.limits, filter=lambda _, value: value is not None)
    limits = evolve(kind_of(provider).limits, **given)
    provider = evolve(provider.completed(hostname, environ), limits=limits)
    return provider.with_environment(environ) if isinstance(provider, ProxySettings) else provider


def _checker(checker: Checker, environ: Mapping[str, str]) -> Checker:
    return checker if isinstance(checker, AnyChecker) else checker.with_environment(environ)


def _routes(config: Config, environ: Mapping[str, str]) -> tuple[RouteSettings, ...]:
    if not config.routes and len(config.providers) == 1:
        return (RouteSettings(name="default", via=tuple(config.providers)),)
    return tuple(
        evolve(
            route,
            name=route.name or f"route{number}",
            webhook=route.webhook and route.webhook.with_environment(environ),
        )
        for number, route in enumerate(config.routes, 1)
    )


def variables_of(section: Any, environ: Mapping[str, str], where: str = "") -> Iterator[tuple[str, str]]:
    """
    Give the name of each value of ``section`` that is a variable's unless it was given, and that variable.

    :param section: a configuration as :func:`complete` returns it, or a part of it, whose name is ``where``.
    """
    if has(type(section)):
        for each in settings_in(type(section)):
            value, name = getattr(section, each.attribute.name), below(where, each.name)
            variable = next((one for one in each.default_variables if environ.get(one)), "")
            if variable and value not in (None, "", ()):
                yield name, variable
            yield from variables_of(value, environ, name)
    elif isinstance(section, Mapping | tuple):
        for key, value in section.items() if isinstance(section, Mapping) else enumerate(section):
            yield from variables_of(value, environ, below(where, key))
