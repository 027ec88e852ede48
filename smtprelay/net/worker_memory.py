"""
Shared memory in which the workers of a relay count connections and wrong logins together.

The kernel distributes clients unevenly, and guessing passwords must not get more tries with more workers.
Each worker writes its own part and reads all parts, so there is no lock that a dying worker could hold.
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

#: Bytes of the secret at the beginning, in a page of its own.
_KEY: Final = 32
_HEAD: Final = mmap.PAGESIZE

#: Number of 4-byte counters in a row; a key has one counter in each row.
_ROW: Final = 1 << 16
_ROWS: Final = 2
_COUNTERS: Final = 4 * _ROW * _ROWS

#: After the counters: the number of logins that a worker has published, and the newest of them.
_PUBLISHED: Final = struct.Struct("=Q")
_LOGIN: Final = struct.Struct("=8s8sd")
_LOGINS: Final = 2048

#: Size of each worker's part, in whole pages.
_PART: Final = -(-(_COUNTERS + _PUBLISHED.size + _LOGINS * _LOGIN.size) // mmap.PAGESIZE) * mmap.PAGESIZE


def new_file() -> int:
    """Return the file descriptor of a file without a name, for processes to share; in memory if possible."""
    if sys.platform == "linux":
        number = os.memfd_create("smtprelay")
    else:
        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
    return number


def new_memory(workers: int) -> int:
    """Return the file descriptor of memory for ``workers`` workers; unwritten pages use no memory."""
    number = new_file()
    os.ftruncate(number, _HEAD + workers * _PART)
    os.pwrite(number, secrets.token_bytes(_KEY), 0)
    return number


class WorkerMemory:
    """
    One worker's access to the shared memory.

    :param descriptor: of :func:`new_memory`.
    :param worker: number of the worker, from 1; 0: of the parent process, which counts nothing.
    :ivar workers: how many there are.
    :ivar key: secret bytes, the same for all.
    """

    def __init__(self, descriptor: int, worker: int = 0) -> None:
        self._memory = mmap.mmap(descriptor, 0)
        self.workers = (len(self._memory) - _HEAD) // _PART
        self.key = self._memory[:_KEY]
        self._counters = memoryview(self._memory).cast("I")
        self._worker = worker
        self._received = dict.fromkeys(range(1, self.workers + 1), 0)

    def count(self, listener: str, address: str, change: int) -> None:
        """Count one more connection from ``address``, 1, or one less, -1."""
        for each in ("", address):
            for place in _places(listener, each):
                self._counters[_start(self._worker) // 4 + place] += change

    def elsewhere(self, listener: str, address: str = "") -> int:
        """Return how many connections other workers have, ``""``: from all clients; rarely too large."""
        return self._sum(listener, address, {*self._received} - {self._worker})

    def is_ahead(self, listener: str) -> bool:
        """Tell whether this worker has more connections than the others have on average."""
        own = self._sum(listener, "", {self._worker})
        return own * (self.workers - 1) > self.elsewhere(listener)

    def forget(self, worker: int) -> None:
        """Reset the counters of a worker that has died; the logins that it published stay."""
        self._memory[_start(worker) : _start(worker) + _COUNTERS] = bytes(_COUNTERS)

    def tell(self, key: bytes, guess: bytes, when: float) -> None:
        """Publish a login to the other workers: the throttle's digests of key and guess, and the time."""
        logins = self._logins(self._worker)
        _LOGIN.pack_into(self._memory, _login(self._worker, logins), key, guess, when)
        _PUBLISHED.pack_into(self._memory, _start(self._worker) + _COUNTERS, logins + 1)
        self._received[self._worker] = logins + 1

    def received(self) -> Iterator[tuple[bytes, bytes, float]]:
        """Give the logins published since the last call; the first call gives all, also our own."""
        for worker, before in self._received.items():
            logins = self._logins(worker)
            self._received[worker] = logins
            for number in range(max(before, logins - _LOGINS), logins):
                yield _LOGIN.unpack_from(self._memory, _login(worker, number))

    def _sum(self, listener: str, address: str, workers: set[int]) -> int:
        """Return the smallest sum of all rows: keys that share a counter in one row rarely do in another."""
        starts = [_start(worker) // 4 for worker in workers]
        return min(
            sum(self._counters[start + place] for start in starts) for place in _places(listener, address)
        )

    def _logins(self, worker: int) -> int:
        logins: int = _PUBLISHED.unpack_from(self._memory, _start(worker) + _COUNTERS)[0]
        return logins


def _start(worker: int) -> int:
    return _HEAD + (worker - 1) * _PART


def _login(worker: int, number: int) -> int:
    return _start(worker) + _COUNTERS + _PUBLISHED.size + number % _LOGINS * _LOGIN.size


def _places(listener: str, address: str) -> tuple[int, ...]:
    digest = blake2b(f"{listener}\0{address}".encode(), digest_size=2 * _ROWS).digest()
    return tuple(row * _ROW + place for row, place in enumerate(struct.unpack(f"={_ROWS}H", digest)))
