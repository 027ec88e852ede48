"""
Finds the relay that a command is meant for: its control socket, and its spool.

The configuration says where they are, but reading it takes longer than asking the
relay. So the machine's own relay, the one that is meant when nobody names another, is
first looked for where its socket usually lies.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from smtprelay.cli.client import ApiClient
from smtprelay.cli.container import settings_in_container
from smtprelay.cli.exit_codes import CONFIG, PERMISSION, CliError
from smtprelay.cli.options import CliSettings
from smtprelay.cli.reading import token_of

if TYPE_CHECKING:
    from smtprelay.config import Config
    from smtprelay.spool.location import SpoolLocation

#: Where packages and container images put the socket and the spool.
RUNTIME: Final = "/run/smtprelay"
SPOOL: Final = "/var/lib/smtprelay"

#: A configuration in the working folder is meant before the machine's.
HERE: Final = "smtprelay.yaml"


def client(settings: CliSettings, environ: Mapping[str, str], timeout: float = 30.0) -> ApiClient:
    """
    Return the client of the relay that ``settings`` mean.

    Raises :class:`CliError` (78) if only the configuration could tell, and it is wrong.
    """
    settings = settings_in_container(settings)
    token = token_of(settings.token_file) if settings.token_file else ""
    return ApiClient(_endpoint(settings, environ), token, timeout)


def instead(client: ApiClient, settings: CliSettings, environ: Mapping[str, str]) -> "SpoolLocation | None":
    """
    Return where the spool lies that is opened because the relay does not answer, and say so on stderr.

    ``None``: it does answer, or there is no such spool.
    """
    found = None if client.listening() else location(settings, environ)
    if found is not None:
        click.echo(f"smtprelay: the relay is not running: opening its spool in {found}", err=True)
    return found


def location(settings: CliSettings, environ: Mapping[str, str]) -> "SpoolLocation | None":
    """
    Return where the relay's spool lies, or ``None`` if that is no folder of this machine, and no database.

    ``None`` too for an endpoint without a configuration: the spool that lies here may be another relay's.
    Raises :class:`CliError` if the configuration is wrong, or what it takes to open the spool is not here.
    """
    settings = settings_in_container(settings)
    if settings.endpoint and (_remote(settings.endpoint) or not settings.config):
        return None
    spool = configuration(settings, environ).spool
    if spool is None or spool.engine == "memory":
        return None
    from smtprelay.spool.location import DriverMissing, SqliteLocation, in_database  # noqa: PLC0415 -- dear

    if spool.engine == "sqlite":
        return SqliteLocation(Path(spool.path))
    assert spool.url is not None
    try:
        spool.url.reveal()
        return in_database(spool.url.reveal, spool.lease)
    except DriverMissing as error:
        raise CliError(CONFIG, str(error)) from error
    except ValueError as error:
        forbidden = isinstance(error.__cause__, PermissionError)
        raise CliError(PERMISSION if forbidden else CONFIG, f"spool.url: {error}") from error


def _usual(environ: Mapping[str, str], spool: str) -> str:
    """Return the socket that lies where one does when no ``control_socket`` is set, or ``""``."""
    folders = filter(None, (environ.get("RUNTIME_DIRECTORY", ""), spool, RUNTIME))
    sockets = [f"{folder}/control.sock" for folder in folders]
    return next(filter(os.path.lexists, sockets), "")


def _endpoint(settings: CliSettings, environ: Mapping[str, str]) -> str:
    if settings.endpoint:
        return settings.endpoint
    named = settings.config or settings.sets or environ.get("SMTPRELAY_CONFIG") or Path(HERE).exists()
    socket = "" if named else _usual(environ, SPOOL)
    if socket:
        return socket
    config = configuration(settings, environ)
    beside = _spool_of(config)
    return str(config.control_socket or _usual(environ, beside) or f"{beside or RUNTIME}/control.sock")


def _remote(endpoint: str) -> bool:
    return not ApiClient(endpoint).local


def _spool_of(config: "Config") -> str:
    spool = config.spool
    return spool.path if spool is not None and spool.engine == "sqlite" else ""


def configuration(settings: CliSettings, environ: Mapping[str, str]) -> "Config":
    """Read the configuration; raises :class:`CliError` (78) if it is wrong."""
    from smtprelay.config import ConfigError, load  # noqa: PLC0415 -- dear: see the module's docstring

    settings = settings_in_container(settings)
    try:
        return load(settings.config, environ, settings.sets, alone=True).config
    except ConfigError as error:
        more = " (smtprelay config check shows all)" if len(error.problems) > 1 else ""
        raise CliError(CONFIG, f"{error.problems[0]}{more}") from error
