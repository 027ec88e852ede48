"""
Where mail ends in a benchmark: programs that take it, count it, and cost little.
"""

import mmap
import re
import struct
from pathlib import Path
from typing import Protocol

from bench.program import PYTHON, Program, free_port


class Sink(Protocol):
    """Takes mail on ``port``."""

    port: int
    pid: int

    def count(self) -> int:
        """Return how many messages it has taken."""


class SmtpSink(Program):
    """Postfix's ``smtp-sink``, which writes a line after each message."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._file = folder / f"smtp-sink-{self.port}"
        super().__init__(
            ["smtp-sink", "-c", "-m", 1000, "-u", "nobody", f"127.0.0.1:{self.port}", 1000], self._file
        )
        self.wait_for(self.port)

    def count(self) -> int:
        """See :class:`Sink`."""
        with self._file.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 200))
            seen = re.findall(rb"mesg=(\d+)", file.read())
        return int(seen[-1]) if seen else 0


class CountingSink(Program):
    """
    A process of a module that counts in a file.

    :param arguments: of the module, behind the port, the seconds until it answers, and the file.
    """

    def __init__(self, folder: Path, module: str, latency: float, *arguments: str) -> None:
        self.port = free_port()
        counter = folder / f"sink-{self.port}"
        counter.write_bytes(bytes(8))
        with counter.open("rb") as file:
            self._counter = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
        argv = [PYTHON, "-m", module, self.port, latency, counter, *arguments]
        super().__init__(argv, folder / f"sink-{self.port}.log")
        self.wait_for(self.port)

    def count(self) -> int:
        """See :class:`Sink`."""
        return int(struct.unpack("Q", self._counter[:8])[0])


class HttpSink(CountingSink):
    """
    A process of :mod:`bench.http_sink`.

    :param latency: seconds until it answers.
    :param kind: whose API it has.
    """

    def __init__(self, folder: Path, latency: float = 0.0, kind: str = "acs") -> None:
        super().__init__(folder, "bench.http_sink", latency, kind)


class SlowSmtpSink(CountingSink):
    """A process of :mod:`bench.smtp_sink`, which answers after ``latency`` seconds."""

    def __init__(self, folder: Path, latency: float) -> None:
        super().__init__(folder, "bench.smtp_sink", latency)
