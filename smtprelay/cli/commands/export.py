"""
``smtprelay queue export``: writes mail of the spool to an archive, whether the relay runs or not.

Mail that moves is held first, and removed from the spool when the archive is synced. If the command is
stopped in between, no mail is lost and none is sent twice.
"""

import base64
import http.client
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import click

from smtprelay.cli import output
from smtprelay.cli.archive_files.archive_tar import ArchiveWriter
from smtprelay.cli.client import ApiClient
from smtprelay.cli.exit_codes import CANNOT_USE, FAILED, PERMISSION, TEMPFAIL, USAGE, CliError
from smtprelay.cli.options import RelayCommand
from smtprelay.cli.selection import MessageIdType, filters, selected
from smtprelay.cli.source import ARCHIVE, PATIENCE, api
from smtprelay.cli.text import count, who, with_settings
from smtprelay.model.filters import STATES

#: The most messages, and deliveries unless one message has more, that are removed by one request.
_MOST: Final = 50
_MOST_ATTEMPTS: Final = 5000

#: A body up to this size is kept in memory until it is written, bytes.
_IN_MEMORY: Final = 1024 * 1024

#: Why messages stay.
_UNDER_WAY: Final = "an attempt is under way. Export again for them"
_DIED: Final = "the relay died during an attempt. Start it once: it finds out the outcome"


@click.command("export", cls=RelayCommand)
@click.argument("place", metavar="FILE|-")
@click.argument("ids", nargs=-1, metavar="[ID]...", type=MessageIdType())
@filters
@click.option("--all", "everything", is_flag=True, help="Include finished mail that is still kept.")
@click.option("--move", is_flag=True, help="Remove it from the spool once the file is synced.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist; not with --move.")
@click.pass_context
def export(
    ctx: click.Context, /, *, place: str, ids: Sequence[str], move: bool, overwrite: bool, **given: Any
) -> int | None:
    """
    Write waiting mail to an archive.

    Ids, filters or --all select other mail. Each message is exported whole, with all its deliveries, attempts
    and its body. FILE is a tar archive, compressed unless its name ends in .tar; - is stdout. A file that
    exists is an error without --overwrite. Hold rules and suspended providers are included, unless ids or a
    filter select mail.

    With --move, a message that is being delivered stays, and the exit status is 75.
    """
    if move and place == "-":
        raise CliError(USAGE, "--move needs a file: what goes into a pipe may be lost")
    if move and overwrite:
        raise CliError(
            USAGE,
            "--move and --overwrite exclude each other: the only copy of moved mail could be overwritten",
        )
    with api(ctx, timeout=PATIENCE, keep=True) as relay:
        with _writer(place, overwrite=overwrite) as writer:
            written = _ExportCounts(writer, relay)
            wanted = selected(given, ids)
            if given["everything"]:
                wanted.setdefault("states", STATES)
            if not set(wanted) - {"states"}:
                written.take_settings()
            written.fill(wanted, move=move)
        gone = written.drop() if move else []
    summary = {**written.counts, **written.settings, "moved": len(gone), "left": len(written.left)}
    if place == "-":
        _tell(written, gone, move=move, err=True)
    else:
        output.result(ctx, summary, lambda: _tell(written, gone, move=move))
    return TEMPFAIL if written.left else None


def _tell(written: "_ExportCounts", gone: Sequence[str], *, move: bool, err: bool = False) -> None:
    exported = count(written.counts["messages"], "message")
    click.echo(f"exported {exported}{with_settings(**written.settings)}", err=err)
    if move:
        click.echo(f"removed {count(len(gone), 'message')} from the spool")
    for line in _unfinished(written, gone, move=move):
        click.echo(f"smtprelay: {line}", err=True)


def _unfinished(written: "_ExportCounts", gone: Sequence[str], *, move: bool) -> Iterator[str]:
    if written.left:
        yield f"{count(len(written.left), 'message')} stayed: {written.under_way}"
    if written.lost:
        yield f"{count(len(written.lost), 'message')} left the queue meanwhile and are not in the archive"
    if move and len(gone) < len(written.ids):
        names = " ".join(sorted(set(written.ids) - set(gone))[:_MOST])
        yield f"in the archive and still in the spool, because they were released meanwhile: {names}"


class _ExportCounts:
    """What has been written, and what has not."""

    def __init__(self, writer: ArchiveWriter, relay: ApiClient) -> None:
        self._writer = writer
        self._relay = relay
        self._known: set[str] = set()
        self.counts = {"messages": 0, "deliveries": 0, "bytes": 0}
        self.settings = {"holds": 0, "suspended": 0}
        self.ids: list[str] = []
        self.left: list[str] = []
        self.under_way = _UNDER_WAY if relay.delivers else _DIED
        self.lost: list[str] = []
        self._attempts: dict[str, dict[str, int]] = {}

    def take_settings(self) -> None:
        """Write the hold rules and suspended providers, if there are any."""
        settings = self._relay.get(f"{ARCHIVE}/operator-settings")
        self.settings = {name: len(settings[name]) for name in ("holds", "suspended")}
        if any(self.settings.values()):
            self._writer.put_settings(settings)

    def fill(self, wanted: Mapping[str, Any], *, move: bool) -> None:
        """Write all mail that matches; with ``move`` it is held."""
        request = {"filters": wanted, "mark": "", "moving": move, "who": who()}
        while True:
            page = self._relay.post(f"{ARCHIVE}/export", request)
            self.left += page["left"]
            for each in page["messages"]:
                self._write(each["message"], each.get("content"))
            request["mark"] = page["mark"]
            if not page["mark"]:
                break
        self._writer.end(self.counts)

    def drop(self) -> Sequence[str]:
        """Remove from the spool what is in the archive and unchanged; return the ids."""
        gone: list[str] = []
        ids: list[str] = []
        attempts: dict[str, int] = {}
        for each in self.ids:
            ids.append(each)
            attempts |= self._attempts[each]
            if each == self.ids[-1] or len(ids) >= _MOST or len(attempts) >= _MOST_ATTEMPTS:
                request = {"ids": ids, "attempts": attempts, "who": who()}
                gone += self._relay.post(f"{ARCHIVE}/exported", request)["ids"]
                ids, attempts = [], {}
        return gone

    def _write(self, values: Mapping[str, Any], content: str | None) -> None:
        if values["id"] in self._known:
            return
        self._known.add(values["id"])
        with self._body(values, content) as body:
            if body is None and values["body"]:
                self.lost.append(values["id"])
                return
            self._writer.add(values, body)
        self.ids.append(values["id"])
        self._attempts[values["id"]] = {
            f"{values['id']}.{each['n']}": each["attempt"] for each in values["deliveries"]
        }
        self.counts["messages"] += 1
        self.counts["deliveries"] += len(values["deliveries"])
        self.counts["bytes"] += values["size"] if values["body"] else 0

    @contextmanager
    def _body(self, values: Mapping[str, Any], content: str | None) -> Iterator[IO[bytes] | None]:
        """Give the body of a message; ``None`` if it has none, or if it has been removed."""
        if not values["body"]:
            yield None
            return
        # Read to its end first: what is written to an archive cannot be removed if the body ends too early.
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as kept:
            for piece in self._pieces(values["id"]) if content is None else [base64.b64decode(content)]:
                kept.write(piece)
            size = kept.tell()
            kept.seek(0)
            yield kept if size == values["size"] else None

    def _pieces(self, message: str) -> Iterator[bytes]:
        for n in itertools.count(1):
            code, content = self._relay.request("GET", f"{ARCHIVE}/{message}/pieces/{n}")
            if code == http.client.NOT_FOUND:
                return
            if code != http.client.OK:
                self._relay.refuse(code, content)
            yield content


@contextmanager
def _writer(place: str, *, overwrite: bool) -> Iterator[ArchiveWriter]:
    """Give a writer; when the block ends well, the file is synced and gets its name."""
    if place == "-":
        with ArchiveWriter(sys.stdout.buffer, gzip=True) as writer:
            yield writer
        sys.stdout.buffer.flush()
    else:
        gzip = not place.endswith(".tar")
        with (
            new_file(Path(place), overwrite=overwrite) as stream,
            ArchiveWriter(stream, gzip=gzip) as writer,
        ):
            yield writer
        _sync(Path(place).absolute().parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def new_file(file: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """
    Give a stream to ``FILE.part``, which only its owner can read; it is renamed when the block ends well.

    :raises CliError: ``FILE.part`` exists, or ``file`` exists and must not be overwritten, or is a device.
    """
    unfinished = Path(f"{file}.part")
    # A rename would replace a device or a pipe by a file.
    if file.exists() and not file.is_file():
        raise CliError(FAILED, f"{file} is not a regular file: give another name, or - for stdout")
    if not overwrite:
        _expect_new(file)
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        hint = "another export is writing it; if none is running, remove the file"
        raise CliError(FAILED, f"{unfinished} exists: {hint}") from None
    except OSError as error:
        status = PERMISSION if isinstance(error, PermissionError) else CANNOT_USE
        raise CliError(status, f"{file} cannot be created in {file.parent}: {error.strerror}") from error
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123 -- a descriptor
            yield stream
            stream.flush()
            os.fsync(descriptor)
        if overwrite:
            unfinished.rename(file)
        else:
            _give_new_name(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)


def _expect_new(file: Path) -> None:
    if file.exists():
        raise _exists(file)


def _give_new_name(unfinished: Path, file: Path) -> None:
    """Rename by a hard link, which replaces no file that was created meanwhile, where there are links."""
    try:
        file.hardlink_to(unfinished)
    except FileExistsError:
        raise _exists(file) from None
    except OSError:
        _expect_new(file)
        unfinished.rename(file)


def _exists(file: Path) -> CliError:
    return CliError(FAILED, f"{file} exists: --overwrite replaces it, but not with --move")
