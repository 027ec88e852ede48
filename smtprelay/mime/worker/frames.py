"""
What is said on the pipes between the relay and its MIME worker: frames, each a kind, a length and octets.

The relay sends ``TASK``, then the mail in ``CHUNK`` frames, one for each ``MORE`` that the worker sends, then
``END``. The worker answers with ``OCTETS`` frames and ``FACTS`` at last, or with ``FAILURE``. Pure.
"""

import struct
from collections.abc import Iterator
from typing import Final

TASK: Final = b"T"
CHUNK: Final = b"C"
END: Final = b"E"
MORE: Final = b"M"
OCTETS: Final = b"O"
FACTS: Final = b"R"
FAILURE: Final = b"F"

_KINDS: Final = frozenset((TASK, CHUNK, END, MORE, OCTETS, FACTS, FAILURE))

#: Octets in a frame at most; what is longer is sent in several.
LARGEST: Final = 1 << 19

#: Octets of ``CHUNK`` and ``OCTETS`` frames at most: a few times what a pipe holds.
PIECE: Final = 1 << 18

_HEAD: Final = struct.Struct("!cI")


def frame(kind: bytes, octets: bytes = b"") -> bytes:
    """Return one frame."""
    return _HEAD.pack(kind, len(octets)) + octets


def pieces(octets: bytes) -> Iterator[bytes]:
    """Cut ``octets`` into pieces of at most :data:`PIECE`."""
    if len(octets) <= PIECE:
        yield octets
        return
    for start in range(0, len(octets), PIECE):
        yield octets[start : start + PIECE]


class FrameError(ValueError):
    """What came is no frame."""


class FrameDecoder:
    """Makes frames of what comes from a pipe, however it is cut."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, octets: bytes) -> Iterator[tuple[bytes, bytes]]:
        """
        Yield each frame that is complete now: its kind and its octets.

        :raises FrameError: an unknown kind, or a length above :data:`LARGEST`.
        """
        pending = self._pending
        pending += octets
        while len(pending) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(pending)
            if kind not in _KINDS or length > LARGEST:
                raise FrameError(f"no frame: {bytes(pending[:40])!r}")
            end = _HEAD.size + length
            if len(pending) < end:
                return
            payload = bytes(pending[_HEAD.size : end])
            del pending[:end]
            yield kind, payload
