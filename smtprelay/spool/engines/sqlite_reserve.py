"""
Disk space reserved so that delivery continues on a full disk.

Recording a delivery takes a few blocks of the write-ahead log, and the log's content must still fit into the
database. So a file of allocated blocks lies beside the database. When a write fails because the disk is full,
the file is deleted, and its blocks are used for delivery only: while it is missing the relay accepts no mail.
It is created again when clearly more space is free than it needs.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

#: Its size where there is room enough, bytes: twice what the log may hold.
LARGEST: Final = 32 * 1024 * 1024

#: Its part of a small file system at most.
_SHARE: Final = 16

#: Why no mail is taken while it is gone.
GONE: Final = "its disk has no room, what was kept in reserve is for what is in the spool"

#: Where blocks cannot be had in advance.
_NO_WAY: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})


class Reserve:
    """
    The reserve in the folder of a spool. All its methods block.

    :ivar size: its bytes.
    :ivar kept: it is there and stays; else it is to be given up, and no mail to be taken.
    :param largest: how many bytes it has at most.
    :param system: tells of the file system that a folder is on, as :func:`os.statvfs` does.
    """

    def __init__(
        self, folder: Path, largest: int = LARGEST, system: Callable[[Path], os.statvfs_result] = os.statvfs
    ) -> None:
        whole = system(folder)
        self.size = min(largest, whole.f_blocks * whole.f_frsize // _SHARE)
        self.kept = True
        self._system = system
        self._file = folder / "reserve"

    def review(self, *, troubled: bool) -> None:
        """
        See whether it can be kept, and take it, if it is not there, where there is room.

        :param troubled: writing fails, or may fail.
        """
        system = self._system(self._file.parent)
        free = system.f_bavail * system.f_frsize
        if self._file.exists() and self._file.stat().st_size >= self.size:
            self.kept = not troubled or free >= self.size
        else:
            self.kept = free >= 2 * self.size and self._take()

    def give_up(self) -> None:
        """Let its blocks be used; ``OSError`` if the disk does not let go of them."""
        self._file.unlink(missing_ok=True)

    def _take(self) -> bool:
        file = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, self.size)
        except OSError as error:
            self.give_up()
            return error.errno in _NO_WAY
        finally:
            os.close(file)
        return True
