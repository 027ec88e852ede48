"""
A provider that takes everything: answers each POST with 202, as the mail API of Azure does.

``python -m bench.http_sink PORT LATENCY COUNTER``. It parses no more of a request than its
length, and is one loop over epoll, so that it is not what is measured.
"""

import mmap
import re
import select
import socket
import struct
import sys
import time
from collections import deque
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


class Request:
    """What has come of the request that a connection sends."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._head = b""
        self._missing = 0

    def ends(self, data: bytes) -> bool:
        """Take the next octets; say whether the request is complete, and begin anew if so."""
        if not self._missing:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return False
            length = _LENGTH.search(head)
            self._head, self._missing = b"", int(length[1]) if length else 0
        self._missing = max(self._missing - len(data), 0)
        return not self._missing


def serve(port: int, latency: float, counter: Counter) -> None:
    """Take requests until the process is ended."""
    server = socket.create_server(("127.0.0.1", port), backlog=1000)
    poll = select.epoll()
    poll.register(server, select.EPOLLIN)
    requests: dict[int, Request] = {}
    #: When which connection gets its answer, in this order.
    later: deque[tuple[float, socket.socket]] = deque()
    while True:
        wait = max(later[0][0] - time.monotonic(), 0.0) if later else None
        for number, _ in poll.poll(wait):
            if number == server.fileno():
                connection, _ = server.accept()
                requests[connection.fileno()] = Request(connection)
                poll.register(connection, select.EPOLLIN)
                continue
            request = requests[number]
            data = _received(request.connection)
            if not data:
                poll.unregister(number)
                requests.pop(number).connection.close()
            elif request.ends(data):
                counter.step()
                later.append((time.monotonic() + latency, request.connection))
        while later and later[0][0] <= time.monotonic():
            _answer(later.popleft()[1])


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 18)
    except ConnectionError:
        return b""


def _answer(connection: socket.socket) -> None:
    try:
        connection.send(_ANSWER)
    except OSError:  # closed by the client meanwhile, or by us after its end
        return


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]), Counter(Path(sys.argv[3])))
