"""
Mail that stays here: each delivery becomes one file in a local Maildir.

For the demo, for developers, and for a sandbox where nothing may leave. Any mail program opens the folder;
the envelope, which says who would have got the mail, stands in headers at its top.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from smtprelay.interfaces import Attempt, Body, DeferToThread
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Outcome, Results
from smtprelay.model.route import Limits
from smtprelay.providers.defaults import ProviderDefaults

#: What an operator has set up wrongly.
_MISTAKES: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST}
)

FOLDERS = ("tmp", "new", "cur")


class Capture(ProviderDefaults):
    """
    A :class:`smtprelay.interfaces.Provider` that writes into the Maildir at ``path``.

    Idempotent: a file is named after the operation, so the same operation delivered
    twice is one file, also when a mail program has moved it to ``cur``. A folder that cannot be
    used is ``Blocked``, anything else that the disk does not let happen ``Deferred``.
    """

    idempotent = True

    def __init__(
        self, name: str, path: str, defer_to_thread: DeferToThread, limits: Limits | None = None
    ) -> None:
        self.name = name
        self.limits = limits or Limits()
        self._maildir = Maildir(Path(path))
        self._defer_to_thread = defer_to_thread

    async def deliver(self, attempt: Attempt) -> Results:
        """Write the delivery."""
        outcome: Outcome = Delivered(attempt.delivery.operation_id)
        try:
            await self._write(attempt.delivery, attempt.body)
        except OSError as error:
            outcome = self._obstacle(error)
        return attempt.results(outcome)

    async def resolve(self, delivery: Delivery) -> Results | None:
        """Look whether the file is there."""
        if await self._defer_to_thread(self._maildir.holds, delivery.operation_id):
            return dict.fromkeys(delivery.envelope.addresses, Delivered(delivery.operation_id))
        return None

    async def probe(self, lane: str) -> Outcome | None:  # noqa: ARG002 -- the seam's signature
        """Make the folders, if they are missing."""
        try:
            await self._defer_to_thread(self._maildir.make)
        except OSError as error:
            return self._obstacle(error)
        return Delivered()

    def _obstacle(self, error: OSError) -> Outcome:
        """A folder that is missing or not ours waits for the operator; what else a disk does may pass."""
        why = f"{error.filename or self._maildir.path}: {error.strerror}"
        return Blocked(why) if error.errno in _MISTAKES else Deferred(why)

    async def _write(self, delivery: Delivery, body: Body) -> None:
        in_thread = self._defer_to_thread
        file = await in_thread(self._maildir.begin, delivery.operation_id, b"".join(headers(delivery)))
        if file is None:
            return
        try:
            async for chunk in body.chunks():
                await in_thread(file.write, chunk)
            await in_thread(file.finish)
        finally:
            await in_thread(file.close)


def headers(delivery: Delivery) -> Iterator[bytes]:
    """Give the envelope as header lines; a control character in it becomes ``?``."""
    envelope = delivery.envelope
    yield _header("Return-Path", f"<{envelope.sender}>")
    for address in envelope.addresses:
        yield _header("Delivered-To", address)
    yield _header("X-Envelope-From", envelope.sender)
    for address in envelope.addresses:
        yield _header("X-Envelope-To", address)


def _header(name: str, value: str) -> bytes:
    clean = "".join(letter if letter.isprintable() else "?" for letter in value)
    return f"{name}: {clean}\r\n".encode()


class Maildir:
    """The folder; everything here blocks and belongs into a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """Create missing folders, with access for their owner only."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in FOLDERS:
            (self.path / folder).mkdir(mode=0o700, exist_ok=True)

    def holds(self, name: str) -> bool:
        """Tell whether ``name`` is there, read or unread."""
        return (self.path / "new" / name).exists() or any((self.path / "cur").glob(f"{name}*"))

    def begin(self, name: str, first: bytes) -> "MaildirFile | None":
        """Begin to write ``name``, with ``first`` in it; ``None`` if it is there already."""
        self.make()
        return None if self.holds(name) else MaildirFile(self.path, name, first)


class MaildirFile:
    """One file on its way from ``tmp`` to ``new``."""

    def __init__(self, path: Path, name: str, first: bytes) -> None:
        self._written = path / "tmp" / name
        self._new = path / "new" / name
        # A file of the same name is what an attempt left that died.
        descriptor = os.open(self._written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self.write(first)

    def write(self, chunk: bytes) -> None:
        """Add ``chunk``."""
        self._file.write(chunk)

    def finish(self) -> None:
        """Make the file safe on the disk, then visible."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._written.rename(self._new)
        folder = os.open(self._new.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Let go of the file; what was not finished is removed."""
        try:
            self._file.close()
        finally:
            self._written.unlink(missing_ok=True)
