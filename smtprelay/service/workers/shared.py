"""
Memory that all workers of a relay share.

What must hold for all of them together, and is asked for too often to ask another process, is here: each
worker writes in a part of its own, and reads in those of all. So there is no lock, and nobody who dies within
one.
"""

import mmap
import os
import secrets
import struct
import sys
import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

#: Bytes that all know and nobody else.
KEY: Final = 32
_HEAD: Final = mmap.PAGESIZE

#: Numbers in one row of counters; a key has one in each row.
_ROW: Final = 1 << 16
_ROWS: Final = 2
_NUMBER: Final = 4

#: Notices that are kept of each worker, of as many bytes each, behind the number of all there ever were.
_NOTICES: Final = 2048
NOTICE: Final = 24
_TOLD: Final = struct.Struct("=Q")

_COUNTERS: Final = _ROWS * _ROW * _NUMBER
#: What each worker has, in whole pages.
_PART: Final = -(-(_COUNTERS + _TOLD.size + _NOTICES * NOTICE) // mmap.PAGESIZE) * mmap.PAGESIZE


def new_memory(workers: int) -> int:
    """Return the descriptor of memory for so many workers; pages that nobody writes take none."""
    if sys.platform == "linux":
        number = os.memfd_create("smtprelay")
    else:
        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
    os.ftruncate(number, _HEAD + workers * _PART)
    os.pwrite(number, secrets.token_bytes(KEY), 0)
    return number


class Shared:
    """
    Such memory.

    :param number: of a descriptor.
    :param worker: whose part is written: from 1; 0: nobody's.
    :ivar workers: how many there are.
    :ivar key: secret bytes, the same for all.
    """

    def __init__(self, number: int, worker: int = 0) -> None:
        self._memory = mmap.mmap(number, 0)
        self.workers = (len(self._memory) - _HEAD) // _PART
        self.key = self._memory[:KEY]
        self._counters = memoryview(self._memory).cast("I")
        self._worker = worker
        self._heard = dict.fromkeys(range(1, self.workers + 1), 0)

    def add(self, key: bytes, change: int) -> None:
        """Change our counter of ``key``."""
        for place in _places(key):
            self._counters[_counters_of(self._worker) + place] += change

    def others(self, key: bytes) -> int:
        """Return the sum of the others' counters of ``key``; it may be too large, but hardly ever is."""
        starts = [_counters_of(n) for n in self._heard if n != self._worker]
        return min(sum(self._counters[start + place] for start in starts) for place in _places(key))

    def forget(self, worker: int) -> None:
        """Put the counters of a worker that is gone to nothing; what it told stays."""
        start = _start(worker)
        self._memory[start : start + _COUNTERS] = bytes(_COUNTERS)

    def tell(self, notice: bytes) -> None:
        """Tell all others something of :data:`NOTICE` bytes."""
        told = self._told(self._worker)
        place = _notice(self._worker, told)
        self._memory[place : place + NOTICE] = notice
        _TOLD.pack_into(self._memory, _notices(self._worker), told + 1)
        self._heard[self._worker] = told + 1

    def heard(self) -> Iterator[bytes]:
        """Give what others have told since the last time; at the first time all that is kept, of us too."""
        for worker, before in self._heard.items():
            told = self._told(worker)
            if told == before:
                continue
            self._heard[worker] = told
            for number in range(max(before, told - _NOTICES), told):
                place = _notice(worker, number)
                yield self._memory[place : place + NOTICE]

    def _told(self, worker: int) -> int:
        told: int = _TOLD.unpack_from(self._memory, _notices(worker))[0]
        return told


def _start(worker: int) -> int:
    return _HEAD + (worker - 1) * _PART


def _counters_of(worker: int) -> int:
    return _start(worker) // _NUMBER


def _notices(worker: int) -> int:
    return _start(worker) + _COUNTERS


def _notice(worker: int, number: int) -> int:
    return _notices(worker) + _TOLD.size + number % _NOTICES * NOTICE


def _places(key: bytes) -> tuple[int, ...]:
    """Return the places of a key's counters: two keys that share one in one row hardly do in the other."""
    digest = blake2b(key, digest_size=2 * _ROWS).digest()
    return tuple(row * _ROW + place for row, place in enumerate(struct.unpack(f"={_ROWS}H", digest)))
