"""
A provider that takes everything: answers each request as the mail API of its kind does.

``python -m bench.http_sink PORT LATENCY COUNTER KIND``. It counts POST requests, parses no more of
one than its length, and is one loop over epoll, so that it is not what is measured.
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
#: By kind: the status, and the content.
_ANSWERS = {
    "acs": ("202 Accepted", '{"id": "00000000-0000-0000-0000-000000000000", "status": "Running"}'),
    "mailgun": ("200 OK", '{"id": "<20261120093000.0123456789abcdef@mg.example.com>", "message": "Queued."}'),
    "resend": ("200 OK", '{"id": "00000000-0000-0000-0000-000000000000"}'),
    "ses": ("200 OK", '{"MessageId": "0100018f00000000-00000000-0000-0000-0000-000000000000-000000"}'),
}


def answer_of(kind: str) -> bytes:
    """Return the whole answer."""
    status, content = _ANSWERS[kind]
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    return (head + content).encode()


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
        self.is_mail = False
        self._head = b""
        self._missing = 0

    def ends(self, data: bytes) -> bool:
        """Take the next octets; say whether the request is complete, and begin anew if so."""
        if not self._missing:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return False
            self.is_mail = head.startswith(b"POST ")
            length = _LENGTH.search(head)
            self._head, self._missing = b"", int(length[1]) if length else 0
        self._missing = max(self._missing - len(data), 0)
        return not self._missing


def serve(port: int, latency: float, counter: Counter, answer: bytes) -> None:
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
                if request.is_mail:
                    counter.step()
                later.append((time.monotonic() + latency, request.connection))
        while later and later[0][0] <= time.monotonic():
            _send(later.popleft()[1], answer)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 18)
    except ConnectionError:
        return b""


def _send(connection: socket.socket, answer: bytes) -> None:
    try:
        connection.send(answer)
    except OSError:  # closed by the client meanwhile, or by us after its end
        return


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]), Counter(Path(sys.argv[3])), answer_of(sys.argv[4]))
