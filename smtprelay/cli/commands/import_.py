"""
``smtprelay queue import``: imports the mail of an archive, or of another relay's folder, into the spool.

Messages that are already here are skipped, so an import can be repeated. What cannot be imported is reported
with the reason, and the rest is imported.
"""

import base64
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Final

import click

from smtprelay.cli import output
from smtprelay.cli.archive_files import archive_tar
from smtprelay.cli.archive_files.archive_tar import Item
from smtprelay.cli.client import ApiClient
from smtprelay.cli.exit_codes import CANNOT_USE, FAILED, USAGE, CliError
from smtprelay.cli.options import RelayCommand
from smtprelay.cli.source import ARCHIVE, PATIENCE, api
from smtprelay.cli.text import count, printable, who, with_settings

#: The longest body that is sent with its message, and the size of the pieces of longer ones, bytes.
SMALL: Final = 64 * 1024
PIECE: Final = 256 * 1024

#: The most messages and bytes in one request, unless one message has more.
_MOST: Final = 50
_MOST_BYTES: Final = 500 * 1024

#: The longest JSON of one message that a relay reads, bytes.
LARGEST: Final = 1024 * 1024 - 1024

#: A message for the API: its JSON, and a small body in base64.
Message = dict[str, Any]


@click.command("import", cls=RelayCommand)
@click.argument("place", metavar="FILE|DIR|-")
@click.option(
    "--route", default="", metavar="NAME", help="Route for mail whose route or provider this relay lacks."
)
@click.pass_context
def import_(ctx: click.Context, *, place: str, route: str) -> int | None:
    """
    Import mail from an archive.

    The archive is made by queue export, or is a folder with one JSON file per message, also that of the relay
    "SMTPRelay". Ids stay the same, and messages that are already here are skipped. The outcome of a delivery
    that was running during the export is first resolved with its provider, as after a crash.
    """
    ended: CliError | None = None
    with _items(place) as items, api(ctx, timeout=PATIENCE, new=True) as relay:
        imported = _ImportCounts(relay, route)
        try:
            for item in items:
                imported.take(item)
        except CliError as error:
            ended = error
        imported.send()
    if ended is not None and not any((*imported.counts.values(), *imported.settings.values())):
        raise ended
    text = (
        f"imported {count(imported.counts['imported'], 'message')},"
        f" {imported.counts['present']} were here already, {imported.counts['refused']} refused"
        f"{with_settings(**imported.settings)}"
    )
    faults = [{"name": name, "why": why} for name, why in imported.faults]
    output.result(ctx, {**imported.counts, **imported.settings, "faults": faults}, lambda: click.echo(text))
    for name, why in imported.faults:
        click.echo(f"smtprelay: {printable(name)}: {printable(why)}", err=True)
    if ended is not None:
        raise ended
    return FAILED if imported.faults else None


class _ImportCounts:
    """What has been imported, and what waits to be sent with others."""

    def __init__(self, relay: ApiClient, route: str) -> None:
        self._relay = relay
        self._route = route
        self._waiting: list[tuple[str, Message]] = []
        self._bytes = 0
        self._numbers: Mapping[str, int] = {}
        self.settings = {"holds": 0, "suspended": 0}
        self.counts = {"imported": 0, "present": 0, "refused": 0}
        self.faults: list[tuple[str, str]] = []

    def take(self, item: Item) -> None:
        """Import one message, now or together with the next ones."""
        values = item.values
        if values is None:
            self._refuse(item.name, item.fault)
            return
        if item.name == archive_tar.SETTINGS:
            self._apply(values)
            return
        self._number_anew(values)
        values["body"] = item.body is not None and isinstance(values.get("size"), int)
        if item.body is None or not values["body"]:
            self._add(item.name, {"message": values})
            return
        start = item.body.read(SMALL + 1)
        name = str(values.get("id"))
        # Without an id no piece can be sent; the relay refuses such a message.
        if len(start) <= SMALL or not (name.isascii() and name.isalnum()):
            self._add(item.name, {"message": values, "content": base64.b64encode(start).decode()})
            return
        if not self._fits(item.name, len(json.dumps(values))):
            return
        self._put_pieces(name, start, item.body)
        self._put([(item.name, {"message": values})])

    def _apply(self, settings: Mapping[str, Any]) -> None:
        """Apply the hold rules and suspended providers of the archive."""
        try:
            applied = self._relay.post(f"{ARCHIVE}/operator-settings", {"settings": settings, "who": who()})
        except CliError as error:
            if error.status != FAILED:
                raise
            self._refuse(archive_tar.SETTINGS, str(error))
            return
        self._numbers = applied["numbers"]
        self.settings = {name: len(applied[name]) for name in ("holds", "suspended")}

    def _number_anew(self, values: Mapping[str, Any]) -> None:
        """Give mail that a hold rule holds the number of that rule here; without the rule it stays held."""
        deliveries = values.get("deliveries")
        for each in deliveries if isinstance(deliveries, list) else ():
            if isinstance(each, dict) and each.get("hold"):
                each["hold"] = self._numbers.get(str(each["hold"]), 0)

    def send(self) -> None:
        """Send the messages that wait."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if waiting:
            self._put(waiting)

    def _add(self, name: str, message: Message) -> None:
        size = len(json.dumps(message))
        if len(self._waiting) >= _MOST or self._bytes + size > _MOST_BYTES:
            self.send()
        if self._fits(name, size):
            self._waiting.append((name, message))
            self._bytes += size

    def _fits(self, name: str, size: int) -> bool:
        """Return whether the relay reads a message of this size; if not, it is refused."""
        if size > LARGEST and self._relay.running:
            self._refuse(name, "too many recipients for a running relay: stop it for this import")
            return False
        return True

    def _put_pieces(self, message: str, start: bytes, body: IO[bytes]) -> None:
        n, piece = 1, start + body.read(PIECE - len(start))
        while piece and self._relay.post(f"{ARCHIVE}/{message}/pieces/{n}", piece)["taken"]:
            n, piece = n + 1, body.read(PIECE)

    def _put(self, named: Sequence[tuple[str, Message]]) -> None:
        wanted = {"messages": [message for _, message in named], "route": self._route, "who": who()}
        # Only the route can be wrong.
        results = self._relay.post(f"{ARCHIVE}/import", wanted, invalid=USAGE)["results"]
        for (name, _), result in zip(named, results, strict=True):
            if result["done"] == "refused":
                self._refuse(name, result["why"])
            else:
                self.counts[result["done"]] += 1

    def _refuse(self, name: str, why: str) -> None:
        self.counts["refused"] += 1
        self.faults.append((name, why))


@contextmanager
def _items(place: str) -> Iterator[Iterator[Item]]:
    """Give the messages of a file, a folder, or stdin."""
    if place == "-":
        yield _begun(archive_tar.read(sys.stdin.buffer))
    elif Path(place).is_dir():
        from smtprelay.cli.archive_files import foreign_json  # noqa: PLC0415 -- slow to import

        if next(Path(place).glob("*.json"), None) is None:
            text = "neither an archive of queue export, nor a folder with a JSON file for each message"
            raise CliError(CANNOT_USE, f"{place}: {text}")
        yield foreign_json.read(Path(place))
    else:
        try:
            stream = Path(place).open("rb")  # noqa: SIM115 -- only what opening it raises is meant
        except (FileNotFoundError, NotADirectoryError) as error:
            wanted = "name an archive of queue export, a folder of mail, or - for the standard input"
            raise CliError(CANNOT_USE, f"{place}: {(error.strerror or '').lower()}: {wanted}") from None
        with stream:
            yield _begun(archive_tar.read(stream))


def _begun(items: Iterator[Item]) -> Iterator[Item]:
    """Return ``items``, the first of them read: what is no archive makes no spool."""
    return chain(list(islice(items, 1)), items)
