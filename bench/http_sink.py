"""
A provider that takes everything: answers each POST with 202, as the mail API of Azure does.

``python -m bench.http_sink PORT LATENCY COUNTER``. It parses no more of a request than its
length, so that it is not what is measured.
"""

import asyncio
import mmap
import re
import struct
import sys
from pathlib import Path

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_BODY = b'{"id": "00000000-0000-0000-0000-000000000000", "status": "Running"}'
_ANSWER = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)


class Counter:
    """A number that others can read from a file."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 8)
        self._value = 0

    def step(self) -> None:
        """Count one."""
        self._value += 1
        self._memory[:8] = struct.pack("Q", self._value)


class Provider(asyncio.Protocol):
    """One connection."""

    def __init__(self, latency: float, counter: Counter) -> None:
        self._latency = latency
        self._counter = counter
        self._head = b""
        self._missing = 0

    def connection_made(self, transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            self._head += data
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            length = _LENGTH.search(head)
            self._head, self._missing, data = b"", int(length[1]) if length else 0, body
        self._missing -= len(data)
        if self._missing <= 0:
            self._missing = 0
            self._counter.step()
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, self._answer)
            else:
                self._answer()

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(_ANSWER)


async def serve(port: int, latency: float, counter: Counter) -> None:
    """Take requests until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Provider(latency, counter), "127.0.0.1", port, backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]), Counter(Path(sys.argv[3]))))
