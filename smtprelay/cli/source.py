"""
The queue as the commands see it, by the API of the relay.

When nobody listens, :class:`smtprelay.cli.offline.InProcess` calls the same API in this process, on the
spool: reading needs nothing but the right to, an edit of a spool that is a file needs the lock that a running
relay would hold.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, TypedDict
from urllib.parse import quote, urlencode

from smtprelay.cli import locate
from smtprelay.cli.client import ApiClient
from smtprelay.cli.exit_codes import FAILED, PERMISSION, UNAVAILABLE, CliError
from smtprelay.cli.options import CliSettings
from smtprelay.cli.who import who
from smtprelay.model.filters import FILTERS

API = "/api/v1"
TRANSFER = f"{API}/transfer"

#: Seconds for an answer about an export or an import: the disk may be busy.
PATIENCE = 300.0

#: Which deliveries are meant: what is given of the fields of :class:`smtprelay.model.queue.Selection`.
Filters = Mapping[str, Any]

#: How a field is called in a query.
_PARAMETERS = {each.name: each.parameter for each in FILTERS} | {"newest": "order"}


class Change(TypedDict):
    """
    What an operator does, and why.

    :ivar dry_run: only say to which deliveries.
    :ivar options: what the action takes beside: ``at``, ``bounce``, ``to`` and ``force``.
    """

    action: str
    who: str
    why: str
    dry_run: bool
    options: Mapping[str, Any]


class ChangeStep(TypedDict):
    """What one step of a change did; with a ``mark`` there is another one."""

    count: int
    ids: Sequence[str]
    left: Mapping[str, int]
    mark: str


class QueueClient:
    """The queue of a relay by its API; every method raises :class:`CliError`."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self.running = client.running

    def list(self, filters: Filters, mark: str = "") -> dict[str, Any]:
        """Return ``{"deliveries", "lanes", "mark", "partial"}`` as the API does."""
        query = {_PARAMETERS.get(name, name): value for name, value in filters.items()}
        if filters.get("newest"):
            query["order"] = "newest"
        if mark:
            query["after"] = mark
        return dict(self._client.get(f"{API}/queue", query))

    def show(self, message: str) -> dict[str, Any]:
        """Return ``{"deliveries"}`` with the details of one message's deliveries."""
        return dict(self._client.get(f"{API}/queue/{_named(message)}"))

    def edit(self, filters: Filters, change: Change, mark: str = "") -> ChangeStep:
        """Carry out one step of ``change``."""
        said = {"who": change["who"], "why": change["why"], "dry_run": change["dry_run"], "mark": mark}
        body = {**filters, **change["options"], **said}
        answer: ChangeStep = self._client.post(f"{API}/queue/{change['action']}", body)
        return answer

    def content(self, message: str, part: str) -> Iterator[bytes]:
        """Give the stored message, or its ``headers``, in pieces."""
        query = urlencode({"part": part, "who": who()})
        yield from self._client.pieces(f"{API}/queue/{_named(message)}/message?{query}")


def _named(message: str) -> str:
    """Return an id as a part of a path, of which a slash would make several."""
    if not message or "/" in message:
        raise CliError(FAILED, f"{message!r} is not the id of a message: queue list and history show them")
    return quote(message, safe="")


@contextmanager
def api(
    settings: CliSettings, *, timeout: float = 30.0, keep: bool = False, new: bool = False
) -> Iterator[ApiClient]:
    """
    Give the API of the relay that ``settings`` mean; if it does not run, on its spool, which stderr says.

    :param timeout: seconds for an answer of the relay.
    :param keep: nobody else changes that spool meanwhile.
    :param new: for an import: so, and make the spool if there is none.

    Raises :class:`CliError` if there is neither a relay nor a spool.
    """
    client = locate.client(settings, os.environ, timeout)
    location = locate.instead(client, settings, os.environ)
    if location is None:
        yield client
        return
    from smtprelay.cli.offline import InProcess  # noqa: PLC0415 -- only when nobody listens

    with closing(InProcess(location, settings, keep=keep, new=new)) as in_process:
        yield in_process


@contextmanager
def opened(settings: CliSettings) -> Iterator[QueueClient]:
    """Give the queue of the relay that ``settings`` mean, as :func:`api` does."""
    with api(settings) as client:
        yield QueueClient(client)


@contextmanager
def in_words() -> Iterator[None]:
    """Have what a spool raises become :class:`CliError`."""
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
