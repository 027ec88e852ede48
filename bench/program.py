"""
Programs that a benchmark starts, and surely stops again.
"""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

#: The checkout, where ``bench`` and ``smtprelay`` are imported from.
ROOT: Final = Path(__file__).parent.parent

PYTHON: Final = sys.executable


class Program(AbstractContextManager["Program"]):
    """A process of ours, started in the checkout ``root``; leaving the context ends it."""

    def __init__(self, argv: Sequence[object], output: Path, root: Path = ROOT) -> None:
        self.output = output
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                [str(argument) for argument in argv],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=root,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def running(self) -> bool:
        """Tell whether it still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        if self.running():
            self._ask_to_end()
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def _ask_to_end(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_for(self, port: int, bound: float = 60.0) -> "Program":
        """Return when it listens on ``port``."""
        deadline = time.monotonic() + bound
        while not listens(port):
            if not self.running() or time.monotonic() > deadline:
                raise RuntimeError(
                    f"{self.output} does not listen on {port}:\n{self.output.read_text()[-2000:]}"
                )
            time.sleep(0.02)
        return self


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def listens(port: int) -> bool:
    """Tell whether somebody listens on ``port``."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
