"""
Memory in which the workers of a relay count connections and wrong logins for all of them together.

The kernel spreads clients unevenly, and whoever guesses passwords must not get as many tries as there are
workers. Each worker writes in a part of its own and reads those of all, so there is no lock that
a worker could die within.
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

#: Counters in a row, each a number of 4 bytes; a key has a place in each row.
_ROW: Final = 1 << 16
_ROWS: Final = 2
_COUNTERS: Final = 4 * _ROW * _ROWS

#: Behind the counters: how many logins a worker has told of, and the last of them.
_TOLD: Final = struct.Struct("=Q")
_LOGIN: Final = struct.Struct("=8s8sd")
_LOGINS: Final = 2048

#: What each worker has, in whole pages.
_PART: Final = -(-(_COUNTERS + _TOLD.size + _LOGINS * _LOGIN.size) // mmap.PAGESIZE) * mmap.PAGESIZE


def new_memory(workers: int) -> int:
    """Return the file descriptor of memory for so many workers; pages that nobody writes take none."""
    if sys.platform == "linux":
        number = os.memfd_create("smtprelay")
    else:
        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
    os.ftruncate(number, _HEAD + workers * _PART)
    os.pwrite(number, secrets.token_bytes(_KEY), 0)
    return number


class WorkerMemory:
    """
    The memory, as one worker has it.

    :param descriptor: of :func:`new_memory`.
    :param worker: number of the worker, from 1; 0: of the process in front, which counts nothing.
    :ivar workers: how many there are.
    :ivar key: secret bytes, the same for all.
    """

    def __init__(self, descriptor: int, worker: int = 0) -> None:
        self._memory = mmap.mmap(descriptor, 0)
        self.workers = (len(self._memory) - _HEAD) // _PART
        self.key = self._memory[:_KEY]
        self._counters = memoryview(self._memory).cast("I")
        self._worker = worker
        self._heard = dict.fromkeys(range(1, self.workers + 1), 0)

    def count(self, listener: str, address: str, change: int) -> None:
        """Count one more connection from ``address``, 1, or one less, -1."""
        for each in ("", address):
            for place in _places(listener, each):
                self._counters[_start(self._worker) // 4 + place] += change

    def elsewhere(self, listener: str, address: str = "") -> int:
        """Return how many connections other workers have, ``""``: from everywhere; rarely it is too large."""
        return self._sum(listener, address, {*self._heard} - {self._worker})

    def is_ahead(self, listener: str) -> bool:
        """Tell whether this worker has more connections than the others have on average."""
        own = self._sum(listener, "", {self._worker})
        return own * (self.workers - 1) > self.elsewhere(listener)

    def forget(self, worker: int) -> None:
        """Put the counters of a worker that has died to 0; the logins that it told of stay."""
        self._memory[_start(worker) : _start(worker) + _COUNTERS] = bytes(_COUNTERS)

    def tell(self, key: bytes, guess: bytes, when: float) -> None:
        """Tell the others of a login, as of :class:`smtprelay.policy.login_throttle.LoginThrottle`."""
        told = self._told(self._worker)
        _LOGIN.pack_into(self._memory, _login(self._worker, told), key, guess, when)
        _TOLD.pack_into(self._memory, _start(self._worker) + _COUNTERS, told + 1)
        self._heard[self._worker] = told + 1

    def heard(self) -> Iterator[tuple[bytes, bytes, float]]:
        """Give the logins that others told of since the last time; at first all that are kept, ours too."""
        for worker, before in self._heard.items():
            told = self._told(worker)
            self._heard[worker] = told
            for number in range(max(before, told - _LOGINS), told):
                yield _LOGIN.unpack_from(self._memory, _login(worker, number))

    def _sum(self, listener: str, address: str, workers: set[int]) -> int:
        """Return the least of the sums in each row: two keys that share a place in one do not in another."""
        starts = [_start(worker) // 4 for worker in workers]
        return min(
            sum(self._counters[start + place] for start in starts) for place in _places(listener, address)
        )

    def _told(self, worker: int) -> int:
        told: int = _TOLD.unpack_from(self._memory, _start(worker) + _COUNTERS)[0]
        return told


def _start(worker: int) -> int:
    return _HEAD + (worker - 1) * _PART


def _login(worker: int, number: int) -> int:
    return _start(worker) + _COUNTERS + _TOLD.size + number % _LOGINS * _LOGIN.size


def _places(listener: str, address: str) -> tuple[int, ...]:
    digest = blake2b(f"{listener}\0{address}".encode(), digest_size=2 * _ROWS).digest()
    return tuple(row * _ROW + place for row, place in enumerate(struct.unpack(f"={_ROWS}H", digest)))
