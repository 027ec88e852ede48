"""
The archive of an export: a tar file, written and read from beginning to end, so that it may be a pipe.

The operator settings come first, in ``operator_settings.json``, if there are any. Each message is
``messages/ID.json`` and, if it still has a body, ``messages/ID.eml`` behind it. The manifest comes last, with
the counts: an archive without one was cut off.
"""

import io
import json
import tarfile
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import PurePosixPath
from typing import IO, Any, BinaryIO, Final, NamedTuple

from smtprelay.cli.exit_codes import FAILED, CliError
from smtprelay.version import VERSION

#: The version of the archive.
SCHEMA: Final = "smtprelay.export.v1"

_MANIFEST: Final = "manifest.json"

#: The operator settings in an archive.
SETTINGS: Final = "operator_settings.json"

#: The longest JSON that is read, bytes.
_MOST: Final = 64 * 1024 * 1024

#: What a damaged archive raises.
_DAMAGED: Final = (tarfile.TarError, EOFError, zlib.error, OSError)


class Item(NamedTuple):
    """
    One message as the file ``name`` has it.

    :ivar values: the message's JSON; ``None`` if that is not to be had, and then ``fault`` says why.
    :ivar body: to be read before the next item is asked for; ``None`` without one.
    """

    name: str
    values: dict[str, Any] | None
    body: IO[bytes] | None
    fault: str = ""


class ArchiveWriter(AbstractContextManager["ArchiveWriter"]):
    """Writes an archive to ``stream``, compressed if ``gzip``; leave the context before that is closed."""

    def __init__(self, stream: BinaryIO, *, gzip: bool) -> None:
        self._tar = tarfile.open(fileobj=stream, mode="w|gz" if gzip else "w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None and self._tar.fileobj is not None:
            # Otherwise unwritten data would raise an error when it can no longer be reported.
            with suppress(OSError):
                self._tar.fileobj.close()

    def add(self, values: Mapping[str, Any], body: IO[bytes] | None) -> None:
        """Add a message, and its body, all of it."""
        name = f"messages/{values['id']}"
        self._add(f"{name}.json", json.dumps(values, indent=1).encode(), values["received"])
        if body is not None:
            self._tar.addfile(_entry(f"{name}.eml", values["size"], values["received"]), body)

    def put_settings(self, settings: Mapping[str, Any]) -> None:
        """Write the operator settings, before the messages."""
        self._add(SETTINGS, json.dumps(settings, indent=1).encode(), time.time())

    def end(self, counts: Mapping[str, int]) -> None:
        """Add the manifest, and end."""
        now = time.time()
        made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        manifest = {"schema": SCHEMA, "version": VERSION, "created": made, **counts}
        self._add(_MANIFEST, json.dumps(manifest, indent=1).encode(), now)
        self._tar.close()

    def _add(self, name: str, content: bytes, when: float) -> None:
        self._tar.addfile(_entry(name, len(content), when), io.BytesIO(content))


def _entry(name: str, size: int, when: float) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, max(0, int(when)), 0o600
    return entry


def read(stream: BinaryIO) -> Iterator[Item]:
    """
    Give the messages of an archive, however it is compressed; before them its :data:`SETTINGS`, by that name.

    Raises :class:`CliError`, after all that could be read, if it is none, or not whole.
    """
    count, manifest = 0, None
    try:
        with tarfile.open(fileobj=stream, mode="r|*") as tar:
            for item in _items(tar):
                if PurePosixPath(item.name).name == _MANIFEST:
                    manifest = item.values
                else:
                    count += item.name != SETTINGS
                    yield item
    except _DAMAGED as error:
        file = getattr(stream, "name", "the archive")
        why = f"{file}: damaged, or no archive of queue export: {error or type(error).__name__}"
        raise CliError(FAILED, why) from error
    _compare(manifest, count)


def _items(tar: tarfile.TarFile) -> Iterator[Item]:
    """Give each JSON file, with the body that is behind it."""
    waiting: Item | None = None
    for entry in tar:
        content = tar.extractfile(entry) if entry.isreg() else None
        path = PurePosixPath(entry.name)
        if content is None:
            continue
        if waiting is not None:
            owner = (waiting.values or {}).get("id")
            yield waiting._replace(body=content if path.suffix == ".eml" and path.stem == owner else None)
            waiting = None
        if path.suffix == ".json":
            values, fault = _values(content, entry.size)
            waiting = Item(entry.name, values, None, fault)
    if waiting is not None:
        yield waiting


def _compare(manifest: Mapping[str, Any] | None, count: int) -> None:
    if manifest is None:
        why = "the archive has no manifest: its end is missing, there may have been more messages"
        raise CliError(FAILED, why)
    schema, messages = manifest.get("schema"), manifest.get("messages")
    if (schema, messages) != (SCHEMA, count):
        found = f"the archive's manifest speaks of {messages} messages in the form {schema!r}"
        raise CliError(FAILED, f"{found}: here are {count} in {SCHEMA!r}")


def _values(content: Any, size: int) -> tuple[dict[str, Any] | None, str]:
    from smtprelay.model.archive_json import loaded  # noqa: PLC0415 -- slow to import

    if size > _MOST:
        return None, f"it has {size} bytes, more than any message's JSON"
    try:
        values = loaded(content.read())
    except ValueError as error:
        return None, f"this is no JSON: {error}"
    return (values, "") if isinstance(values, dict) else (None, "this is no JSON object")
