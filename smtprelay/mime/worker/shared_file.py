"""
A file without a name, in memory where the system has such: a mail for the worker, and what it made of it.

Both processes use its descriptor: a large mail takes a few calls, where a pipe would wake both for each 64
KiB. On systems without such files it lies on the disk, and the relay waits for that.
"""

import os
import tempfile

#: The descriptor in the worker.
NUMBER = 3

#: Octets of memory that stay for the next mail: to get them anew for each one of 5 MB costs a twentieth of
#: the work on it.
KEPT = 8 << 20


def create() -> int:
    """
    Return the descriptor of a new file.

    :raises OSError: the system has no room for it.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create("smtprelay-mail")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def put(descriptor: int, octets: bytes, at: int = 0) -> int:
    """Write ``octets`` at that place, and return where they end."""
    left = memoryview(octets)
    while left:
        written = os.pwrite(descriptor, left, at)
        left, at = left[written:], at + written
    return at


def take(descriptor: int, size: int) -> bytes:
    """Return the first ``size`` octets, fewer if there are no more; the file keeps :data:`KEPT` at most."""
    octets = os.pread(descriptor, size, 0)
    while len(octets) < size and (more := os.pread(descriptor, size - len(octets), len(octets))):
        octets += more
    if size > KEPT:
        os.ftruncate(descriptor, KEPT)
    return octets
