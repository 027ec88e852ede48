"""
The text of the configuration that is in force, in memory that all workers share.

So a worker that is restarted does what the others do, whatever has become of the file meanwhile.
"""

import os
import struct
from typing import Final

from attrs import frozen

from smtprelay.config.yaml_source import MAXIMUM_BYTES

#: At the beginning: where the text is, and its length.
_HEAD: Final = struct.Struct("=QQ")
_PLACES: Final = (4096, 4096 + MAXIMUM_BYTES)


@frozen
class SharedText:
    """
    One process's access to it.

    :param descriptor: of :func:`smtprelay.net.worker_memory.new_file`.
    """

    descriptor: int

    def read(self) -> bytes:
        """Return the text."""
        place, length = self._head()
        return os.pread(self.descriptor, length, place)

    def write(self, text: bytes) -> None:
        """Replace the text; who reads at the same moment gets the one before."""
        place = _PLACES[self._head()[0] == _PLACES[0]]
        os.pwrite(self.descriptor, text, place)
        os.pwrite(self.descriptor, _HEAD.pack(place, len(text)), 0)

    def _head(self) -> tuple[int, int]:
        head = os.pread(self.descriptor, _HEAD.size, 0)
        return _HEAD.unpack(head) if head else (0, 0)
