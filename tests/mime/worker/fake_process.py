"""
A reactor whose processes say what the test has them say, and keep what the relay sends them.
"""

import json
from collections.abc import AsyncIterator

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from smtprelay.mime.worker import shared_file
from smtprelay.mime.worker.frames import FACTS, FAILURE, READY, TASK, FrameDecoder, frame


class FakeProcess:
    """
    A process transport.

    :ivar sent: the frames that the relay has sent.
    :ivar bodies: the mails that it got with them.
    :ivar killed: the signals it got.
    :ivar tells: the reactor hears of its end; else it must be asked, and then knows only the pipes.
    """

    def __init__(self, protocol, number: int, file: int, *, tells: bool = True) -> None:
        self.protocol = protocol
        self.file = file
        self.pid = number
        self.sent: list[tuple[bytes, bytes]] = []
        self.bodies: list[bytes] = []
        self.killed: list[str] = []
        self.asked = 0
        self.tells = tells
        self.closed = False
        self._status: Exception | None = None
        self._decoder = FrameDecoder()

    # --- the relay's side

    def writeToChild(self, child_fd: int, octets: bytes) -> None:
        if self.closed:
            raise KeyError(child_fd)
        self.sent += self._decoder.feed(octets)
        self.bodies.append(shared_file.take(self.file, self.task["size"]))

    def signalProcess(self, signal: str) -> None:
        if self.closed:
            raise ProcessExitedAlready
        self.killed.append(signal)

    def reapProcess(self) -> None:
        self.asked += 1
        if self._status is not None and self.closed and not self.tells:
            self.protocol.processExited(Failure(self._status))

    # --- the process's side

    def says(self, octets: bytes) -> None:
        self.protocol.childDataReceived(1, octets)

    def answers(self, facts, octets: bytes = b"") -> None:
        shared_file.put(self.file, octets)
        self.says(frame(FACTS, json.dumps({"facts": facts, "octets": len(octets)}).encode()))

    def fails(self, told) -> None:
        self.says(frame(FAILURE, json.dumps(told).encode()))

    def ends(self, code: int | None = 0, signal: int | None = None, status: int = 0) -> None:
        """Close its pipes; tell how it ended."""
        self._status = ProcessTerminated(code, signal, status) if code or signal else ProcessDone(status)
        if self.tells:
            self.protocol.processExited(Failure(self._status))
        self.closed = True
        for child_fd in (0, 1, 2):
            self.protocol.childConnectionLost(child_fd)

    @property
    def task(self):
        """The task that it got last."""
        return json.loads([octets for kind, octets in self.sent if kind == TASK][-1])


class FakeReactor(Clock):
    """
    :ivar processes: all that were started.
    :ivar broken: what starting one raises.
    :ivar starts: what is started says that it is ready.
    """

    def __init__(self, *, tells: bool = True) -> None:
        super().__init__()
        self.starts = True
        self.tells = tells
        self.processes: list[FakeProcess] = []
        self.commands: list[tuple[list[str], dict[str, str]]] = []
        self.broken: OSError | None = None

    def spawnProcess(self, protocol, executable, arguments, *, env, childFDs):  # noqa: N803 -- Twisted's
        if self.broken is not None:
            raise self.broken
        self.commands.append((arguments, env))
        process = FakeProcess(
            protocol, len(self.processes) + 1, childFDs[shared_file.NUMBER], tells=self.tells
        )
        self.processes.append(process)
        protocol.makeConnection(process)
        if self.starts:
            process.says(frame(READY))
        return process


class FakeBody:
    """
    A stored mail.

    :ivar read: how many of its pieces were asked for.
    """

    def __init__(self, *pieces: bytes | Deferred, size: int | None = None) -> None:
        self.pieces = pieces
        self.read = 0
        self.size = sum(map(len, pieces)) if size is None else size

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.read += 1
            yield piece if isinstance(piece, bytes) else await piece

    async def whole(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])
