"""
The queue as the commands see it, whether the relay runs or not.

:class:`Online` asks the relay. When nobody listens, :class:`Offline` opens the
spool itself: reading needs nothing but the right to, an edit needs the lock that
a running relay would hold. Both give the same plain values, those of the API.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypedDict
from urllib.parse import quote

import click

from smtprelay.cli import place
from smtprelay.cli.client import Client
from smtprelay.cli.exits import FAILED, PERMISSION, UNAVAILABLE, CliError
from smtprelay.cli.options import Settings

if TYPE_CHECKING:
    from smtprelay.queue import Selection
    from smtprelay.spool.offline import OfflineSpool

API = "/api/v1"
SCHEMA = "smtprelay.queue.v1"


class Filters(TypedDict):
    """Which deliveries are meant; the fields of :class:`smtprelay.queue.Selection`."""

    ids: Sequence[str]
    states: Sequence[str]
    provider: str
    sender: str
    recipient: str
    everything: bool
    limit: int


class Change(TypedDict):
    """What an operator does, and why; ``dry_run`` only says to which deliveries."""

    action: str
    who: str
    why: str
    dry_run: bool


class Source(Protocol):
    """Where the queue is asked and changed; every method raises :class:`CliError`."""

    def list(self, filters: Filters) -> dict[str, Any]:
        """Return ``{"schema", "deliveries", "lanes"}`` as the API does."""

    def show(self, message: str) -> dict[str, Any]:
        """Return ``{"deliveries"}`` with the details of one message's deliveries."""

    def edit(self, filters: Filters, change: Change) -> Sequence[str]:
        """Carry out ``change`` and return the ids of the deliveries that it met."""


class Online:
    """The queue of a running relay."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, filters: Filters) -> dict[str, Any]:
        """Ask for the queue."""
        query: dict[str, str | Sequence[str]] = {
            "id": filters["ids"],
            "state": filters["states"],
            "limit": str(filters["limit"]),
        }
        for name in ("provider", "sender", "recipient"):
            if filters[name]:
                query[name] = filters[name]
        return dict(self._client.get(f"{API}/queue", query))

    def show(self, message: str) -> dict[str, Any]:
        """Ask for one message."""
        return dict(self._client.get(f"{API}/queue/{quote(message, safe='')}"))

    def edit(self, filters: Filters, change: Change) -> Sequence[str]:
        """Have the relay do it."""
        body = {name: value for name, value in filters.items() if name != "limit"}
        for name in ("who", "why", "dry_run"):
            body[name] = change[name]
        return list(self._client.post(f"{API}/queue/{change['action']}", body)["ids"])


class Offline:
    """The queue of a relay that does not run, in its spool."""

    def __init__(self, spool: "OfflineSpool") -> None:
        self._spool = spool

    def list(self, filters: Filters) -> dict[str, Any]:
        """Read the queue."""
        with in_words():
            return {
                "schema": SCHEMA,
                "deliveries": [_plain(summary) for summary in self._spool.list(_selection(filters))],
                "lanes": [_plain(lane) for lane in self._spool.lanes()],
            }

    def show(self, message: str) -> dict[str, Any]:
        """Read one message."""
        with in_words():
            return {"schema": SCHEMA, "deliveries": [_plain(detail) for detail in self._spool.show(message)]}

    def edit(self, filters: Filters, change: Change) -> Sequence[str]:
        """Do it in the spool, under its lock."""
        from smtprelay.queue import Edit  # noqa: PLC0415

        selection = _selection(filters)
        with in_words():
            if change["dry_run"]:
                return [summary.id for summary in self._spool.list(selection)]
            edit = Edit(action=change["action"], who=change["who"], why=change["why"])
            return list(self._spool.edit(selection, edit))


@contextmanager
def opened(settings: Settings) -> Iterator[Source]:
    """
    Give the queue of the relay that ``settings`` mean; says on stderr if it is the spool's.

    Raises :class:`CliError` if there is neither a relay nor a spool.
    """
    client = place.client(settings, os.environ)
    path = "" if client.listening() else place.spool(settings, os.environ)
    if not path:
        yield Online(client)
        return
    from smtprelay.spool.offline import open_spool  # noqa: PLC0415 -- only when nobody listens

    click.echo(f"smtprelay: the relay is not running: opening its spool in {path}", err=True)
    with in_words():
        spool = open_spool(path)
    with closing(spool):
        yield Offline(spool)


@contextmanager
def in_words() -> Iterator[None]:
    """Have what a spool raises become :class:`CliError`."""
    import sqlite3  # noqa: PLC0415

    from smtprelay.spool.connection import SpoolFault  # noqa: PLC0415
    from smtprelay.spool.lock import SpoolBusy  # noqa: PLC0415

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


def _selection(filters: Filters) -> "Selection":
    from smtprelay.queue import Selection  # noqa: PLC0415

    return Selection(**filters)


def _plain(value: Any) -> Mapping[str, Any]:
    from attrs import asdict  # noqa: PLC0415

    return asdict(value)
