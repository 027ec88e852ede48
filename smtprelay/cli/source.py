"""
The relay's API as the commands use it.

While no relay runs, :class:`smtprelay.cli.in_process.InProcess` calls the same API in this process, on its
spool. A change then needs the lock that a running relay holds.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote

import click

from smtprelay.cli import locate
from smtprelay.cli.client import ApiClient
from smtprelay.cli.exit_codes import FAILED, PERMISSION, UNAVAILABLE, CliError
from smtprelay.cli.options import chosen
from smtprelay.model.filters import FILTERS
from smtprelay.program import called

API = "/api/v1"
ARCHIVE = f"{API}/archive"

#: Seconds for an answer about an export or an import: the disk may be busy.
PATIENCE = 300.0

#: Which deliveries are meant: the given fields of :class:`smtprelay.model.queue.Selection`.
Filters = Mapping[str, Any]

#: The name of each field in a query.
_PARAMETERS = {each.name: each.parameter for each in FILTERS} | {"newest": "order"}


def listed(relay: ApiClient, filters: Filters, mark: str = "") -> dict[str, Any]:
    """Return ``{"deliveries", "lanes", "mark", "partial"}`` as the API does."""
    query = {_PARAMETERS.get(name, name): value for name, value in filters.items()}
    if filters.get("newest"):
        query["order"] = "newest"
    if mark:
        query["after"] = mark
    return dict(relay.get(f"{API}/queue", query))


def path_of(message: str) -> str:
    """Return the API's path of a message; raises :class:`CliError` for what is no id."""
    if not message or "/" in message:
        raise CliError(FAILED, f"{message!r} is not the id of a message: queue list and history show them")
    return f"{API}/queue/{quote(message, safe='')}"


def running(ctx: click.Context, timeout: float = 30.0) -> ApiClient:
    """Return the client of a relay that must be running; ``timeout`` is that of an answer, seconds."""
    return locate.client(chosen(ctx), os.environ, timeout)


@contextmanager
def api(
    ctx: click.Context, *, timeout: float = 30.0, keep: bool = False, new: bool = False
) -> Iterator[ApiClient]:
    """
    Give the API of the relay; while it does not run, that of its spool, which stderr says.

    :param timeout: seconds for an answer of the relay.
    :param keep: no other process changes that spool meanwhile.
    :param new: for an import: as ``keep``, and create the spool if there is none.

    Raises :class:`CliError` if there is neither a relay nor a spool.
    """
    client = running(ctx, timeout)
    location = None if client.listening() else locate.location(chosen(ctx), os.environ)
    if location is None:
        yield client
        return
    click.echo(f"{called()}: the relay is not running: opening its spool in {location}", err=True)
    from smtprelay.cli.in_process import InProcess  # noqa: PLC0415 -- only while no relay runs

    with closing(InProcess(location, chosen(ctx), keep=keep, new=new)) as in_process:
        yield in_process


@contextmanager
def in_words() -> Iterator[None]:
    """Turn what a spool raises into :class:`CliError`."""
    import sqlite3  # noqa: PLC0415

    from smtprelay.spool.engines.sqlite_lock import SpoolBusy  # noqa: PLC0415
    from smtprelay.spool.engines.transaction import SpoolFault  # noqa: PLC0415

    try:
        yield
    except SpoolBusy as error:
        raise CliError(UNAVAILABLE, str(error)) from error
    except LookupError as error:
        # str() of a KeyError would put the sentence in quotes.
        raise CliError(FAILED, str(error.args[0] if error.args else error)) from error
    except PermissionError as error:
        raise CliError(PERMISSION, str(error)) from error
    except (OSError, sqlite3.Error, SpoolFault) as error:
        raise CliError(
            UNAVAILABLE, f"the relay is not running, and its spool cannot be read: {error}"
        ) from error
