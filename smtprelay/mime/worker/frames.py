"""
The protocol on the pipes between the relay and its MIME worker: frames, each a kind, a length and octets.

The worker says ``READY`` once. The relay sends ``TASK`` when the mail is in the shared file, the worker
answers ``FACTS`` when what it made is there, or ``FAILURE``. The octets of these are JSON. Pure.
"""

import struct
from collections.abc import Iterator
from typing import Final

READY: Final = b"S"
TASK: Final = b"T"
FACTS: Final = b"R"
FAILURE: Final = b"F"

_KINDS: Final = frozenset((READY, TASK, FACTS, FAILURE))

#: Octets in a frame at most.
MAX_FRAME: Final = 1 << 19

_HEAD: Final = struct.Struct("!cI")


def frame(kind: bytes, octets: bytes = b"") -> bytes:
    """Return one frame."""
    return _HEAD.pack(kind, len(octets)) + octets


class FrameError(ValueError):
    """What came is no frame."""


class FrameDecoder:
    """Makes frames of what comes from a pipe, however it is cut."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, octets: bytes) -> Iterator[tuple[bytes, bytes]]:
        """
        Yield each frame that is complete now: its kind and its octets.

        :raises FrameError: an unknown kind, or a length above :data:`MAX_FRAME`.
        """
        pending = self._pending
        pending += octets
        while len(pending) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(pending)
            if kind not in _KINDS or length > MAX_FRAME:
                raise FrameError(f"no frame: {bytes(pending[:40])!r}")
            end = _HEAD.size + length
            if len(pending) < end:
                return
            payload = bytes(pending[_HEAD.size : end])
            del pending[:end]
            yield kind, payload
