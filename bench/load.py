"""
Where mail comes from in a benchmark: Postfix's ``smtp-source``, and single connections.

``smtp-source`` costs 0.02 to 0.05 ms a message of 10 KB; how busy it was is part of each
result. It keeps its connections and does not pipeline.
"""

import os
import socket
import subprocess
import time
from typing import Final

from attrs import frozen

from bench.program import ROOT

#: No load takes longer, seconds.
BOUND: Final = 300.0

SENDER: Final = "sender@example.com"


@frozen
class Load:
    """``messages`` of ``size`` bytes over so many sessions at once."""

    size: int
    messages: int
    sessions: int = 10

    def shorter(self, factor: int) -> "Load":
        """Return a part of this load."""
        return Load(self.size, max(self.messages // factor, self.sessions), self.sessions)


class Source:
    """
    A load that is being sent to 127.0.0.1.

    :ivar seconds: how long it took, once :meth:`running` is false; ``cpu``: what it cost.
    """

    def __init__(self, port: int, load: Load, recipient: str = "somebody@example.net") -> None:
        # What smtp-source adds are headers of about 200 bytes, with a Message-ID that nobody mends.
        argv = ["smtp-source", "-d", "-M", "client.example.com", "-s", load.sessions]
        argv += ["-l", load.size, "-m", load.messages]
        argv += ["-f", SENDER, "-t", recipient, "-S", "benchmark", f"127.0.0.1:{port}"]
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [str(argument) for argument in argv], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT
        )
        self.seconds = self.cpu = 0.0
        self._status: int | None = None

    def running(self) -> bool:
        """Tell whether it still sends; raises :class:`RuntimeError` when it could not."""
        if self._status is not None:
            return False
        pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
        if not pid:
            if time.monotonic() - self._began > BOUND:
                self._process.kill()
            return True
        self._status = self._process.returncode = os.waitstatus_to_exitcode(status)
        self.seconds = time.monotonic() - self._began
        self.cpu = usage.ru_utime + usage.ru_stime
        assert self._process.stderr is not None
        said = self._process.stderr.read().decode()
        self._process.stderr.close()
        if self._status:
            raise RuntimeError(f"smtp-source: status {self._status}: {said.strip()}")
        return False


def send(port: int, load: Load) -> Source:
    """Send ``load`` and return when it is accepted."""
    source = Source(port, load)
    while source.running():
        time.sleep(0.002)
    return source


class Conversation:
    """One SMTP connection by hand."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 30)
        self._file = self._socket.makefile("rb")
        self._expect(b"2")
        self.say(b"EHLO bench.example.com\r\n", b"2")

    def say(self, line: bytes, code: bytes) -> None:
        """Send ``line`` and read a reply that begins with ``code``."""
        self._socket.sendall(line)
        self._expect(code)

    def send(self, content: bytes) -> None:
        """Send one message."""
        self.say(b"MAIL FROM:<%s>\r\n" % SENDER.encode(), b"2")
        self.say(b"RCPT TO:<somebody@example.net>\r\n", b"2")
        self.say(b"DATA\r\n", b"3")
        self.say(content + b"\r\n.\r\n", b"2")

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()

    def _expect(self, code: bytes) -> None:
        while (line := self._file.readline())[3:4] == b"-":
            pass
        if not line.startswith(code):
            raise RuntimeError(f"unexpected reply: {line!r}")
