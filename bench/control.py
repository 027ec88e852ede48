"""
Questions to a relay that runs, over its control socket.
"""

import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from socket import AF_UNIX, socket

from attrs import frozen


@frozen
class Answer:
    """What came back, and after how many seconds."""

    text: str
    seconds: float


class _Control(HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket(AF_UNIX)
        self.sock.connect(str(self._path))


def asked(control: Path, path: str) -> Answer:
    """Ask for ``path``; raises :class:`RuntimeError` if the answer is not 200."""
    began = time.perf_counter()
    with closing(_Control(control)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {text[:200]!r}")
    return Answer(text.decode(), time.perf_counter() - began)
