"""
Locks a spool for one process.

The kernel releases the lock when the process ends, so a killed daemon leaves none behind. A second daemon on
the same spool is refused with an error that names the first.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class SpoolBusy(Exception):  # noqa: N818 -- not an error of ours
    """Another process has the spool; the text says which."""


class SpoolLock:
    """An exclusive lock on the folder of a spool, held until :meth:`release`."""

    def __init__(self, folder: Path) -> None:
        """
        Take the lock.

        :raises SpoolBusy: another process has it.
        :raises OSError: the lock file cannot be opened.
        """
        self._file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._file, 200, 0).decode("utf-8", "replace").strip()
            os.close(self._file)
            raise SpoolBusy(f"the spool {folder} is in use by {owner or 'another process'}") from None
        # On a full disk nobody reads who has it, but it is had.
        with suppress(OSError):
            os.ftruncate(self._file, os.pwrite(self._file, f"process {os.getpid()}\n".encode(), 0))

    def release(self) -> None:
        """Release the lock."""
        os.close(self._file)
