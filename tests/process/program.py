"""
A child process under test: its output can be waited for, and so can its end.

Waiting is always for an event and always with a deadline, so that a process that does not do what
it should fails its test with all it has said.
"""

import atexit
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.fdesc import readFromFD, setNonBlocking
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python import log
from twisted.python.failure import Failure

from tests.process import forked

#: Where ``tests`` can be imported from.
ROOT = Path(__file__).parents[2]

#: Warnings of Twisted's own: its endpoint ``ssl:`` reads files so, and 24.11 left a port open that was taken.
TWISTED = re.compile(rb"Passing pyOpenSSL |laddr=\('0\.0\.0\.0', 0\)|Enable tracemalloc to")

#: Seconds that anything may take on a machine that is busy with other tests.
PATIENCE = 40.0


def usual_environ(folder: Path) -> dict[str, str]:
    """Return the little that a program in ``folder`` has in its environment."""
    usual = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    return {**usual, "PYTHONWARNINGS": "default"}


class Program(ProcessProtocol):
    """
    A running command.

    :ivar out: what it wrote to its standard output, ``err``: to its standard error.
    :ivar status: its exit status, the negative number of the signal that ended it, ``None`` while it runs.
    """

    def __init__(self) -> None:
        self.out = b""
        self.err = b""
        self.status: int | None = None
        self._waiting: list[tuple[Callable[[], object], Deferred[object]]] = []

    @classmethod
    def start(cls, command: Sequence[str], folder: Path, **environ: str) -> "Program":
        """Start ``command`` in ``folder``, with little in its environment but ``environ``."""
        program = cls()
        environ = {**usual_environ(folder), **environ}
        reactor.spawnProcess(program, command[0], command, env=environ, path=str(folder))
        return program

    @classmethod
    def python(cls, arguments: Sequence[str], folder: Path, **environ: str) -> "Program":
        """Start the Python of this test with ``arguments``."""
        return cls.start([sys.executable, "-P", *arguments], folder, **environ)

    @classmethod
    def forked(
        cls, arguments: Sequence[str], folder: Path, *, workers: bool = False, **environ: str
    ) -> "Program":
        """
        Do as the Python of this test would with ``arguments``, where the relay is imported already.

        :param workers: those that it starts are forked, too.
        """
        program = cls()
        environ = {**usual_environ(folder), **environ}
        request = {"arguments": arguments, "folder": str(folder.absolute()), "environ": environ}
        program.transport = ForkedTransport(program, {**request, "numbers": [1, 2], "workers": workers})
        return program

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait until its standard output has ``pattern``; return the match."""
        sought = re.compile(pattern.encode(), re.MULTILINE)
        found = await self._until(lambda: sought.search(self.out), f"says {pattern!r}")
        assert isinstance(found, re.Match)
        match = re.search(pattern, found.string.decode(), re.MULTILINE)
        assert match is not None
        return match

    async def ends(self) -> int:
        """Wait until it has ended; return :attr:`status`."""
        await self._until(lambda: self.status is not None, "ends", even_ended=True)
        assert self.status is not None
        return self.status

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal, unless it has ended, and wait for its end."""
        self.signal(number)
        return await self.ends()

    async def insist(self, number: int = signal.SIGTERM) -> int:
        """Send it signals until it has ended: those within a second of the first are none."""
        await eventually(lambda: self.signal(number) or self.status is not None, "its end")
        return await self.ends()

    def signal(self, number: int) -> None:
        """Send it a signal; one that has ended does not mind."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(number)

    # --- called by Twisted

    def outReceived(self, octets: bytes) -> None:
        self.out += octets
        self._look()

    def errReceived(self, octets: bytes) -> None:
        self.err += octets

    def processEnded(self, reason: Failure) -> None:
        ended = reason.value
        self.ended(0 if isinstance(ended, ProcessDone) else (ended.exitCode or -(ended.signal or 0)))

    def ended(self, status: int) -> None:
        """Take note of its end."""
        self.status = status
        # Whatever is logged as an error fails the test.
        for warning in re.findall(rb".*\b\w+Warning: .*", self.out + self.err):
            if TWISTED.search(warning):
                continue
            log.err(AssertionError(f"a warning of a process: {warning.decode(errors='replace')}"))
        self._look()

    # --- waiting

    async def _until(self, there: Callable[[], object], what: str, *, even_ended: bool = False) -> object:
        value = there()
        if value:
            return value
        if self.status is not None and not even_ended:
            raise AssertionError(f"it ended with {self.status} before it {what}\n{self._told()}")
        waiting: Deferred[object] = Deferred()
        self._waiting.append((there, waiting))
        late = reactor.callLater(PATIENCE, waiting.errback, AssertionError(f"not in time: {what}"))
        try:
            return await waiting
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._told()}") from None
        finally:
            if late.active():
                late.cancel()
            self._waiting = [each for each in self._waiting if each[1] is not waiting]

    def _look(self) -> None:
        for there, waiting in list(self._waiting):
            if waiting.called:
                continue
            if value := there():
                waiting.callback(value)
            elif self.status is not None:
                waiting.errback(AssertionError(f"it ended with {self.status}"))

    def _told(self) -> str:
        return (self.out + b"\n--- standard error\n" + self.err).decode(errors="replace")[-8000:]


@cache
def starter() -> socket.socket:
    """Start :mod:`tests.process.forked`, once; return where it is asked."""
    ours, its = socket.socketpair()
    command = [sys.executable, "-P", forked.__file__, str(its.fileno())]
    usual, nothing = usual_environ(ROOT), subprocess.DEVNULL
    running = subprocess.Popen(command, env=usual, pass_fds=[its.fileno()], stdin=nothing, stdout=nothing)
    its.close()
    atexit.register(running.wait, 10)
    atexit.register(ours.close)
    return ours


class PipeReader(FileDescriptor):
    """Reads a pipe; tells ``heard`` what comes and ``ended`` when nothing more will."""

    def __init__(
        self, descriptor: int, heard: Callable[[bytes], object], ended: Callable[[], object]
    ) -> None:
        super().__init__(reactor)
        setNonBlocking(descriptor)
        self._descriptor = descriptor
        self._heard = heard
        self._ended = ended
        self.startReading()

    def fileno(self) -> int:
        return self._descriptor

    def doRead(self) -> object:
        return readFromFD(self._descriptor, self._heard)

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        os.close(self._descriptor)
        self._ended()


class ForkedTransport:
    """
    What Twisted has for a process that it has started, for one that :func:`starter` has.

    :ivar pid: its process id.
    """

    def __init__(self, program: Program, request: Mapping[str, object]) -> None:
        self._program = program
        self._status = b""
        self._open = 3
        pipes = [os.pipe() for _ in range(3)]
        socket.send_fds(starter(), [json.dumps(request).encode()], [write for _, write in pipes])
        for _, write in pipes:
            os.close(write)
        (self.pid,) = forked.NUMBER.unpack(starter().recv(forked.NUMBER.size))
        hearing = (program.outReceived, program.errReceived, self._status_received)
        for (read, _), heard in zip(pipes, hearing, strict=True):
            PipeReader(read, heard, self._pipe_ended)

    def signalProcess(self, number: int) -> None:
        """Send it a signal; raises ``ProcessExitedAlready``."""
        if self._status:
            raise ProcessExitedAlready
        os.kill(self.pid, number)

    def _status_received(self, octets: bytes) -> None:
        self._status += octets

    def _pipe_ended(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._program.ended(*forked.NUMBER.unpack(self._status))


async def eventually(look: Callable[[], object], what: str = "it", *, patience: float = PATIENCE) -> object:
    """
    Ask ``look``, which may be a coroutine function, until its answer is true; return that.

    For what another process knows and cannot tell by itself.
    """
    end = reactor.seconds() + patience
    while True:
        answer = look()
        if hasattr(answer, "__await__"):
            answer = await answer
        if answer:
            return answer
        if reactor.seconds() > end:
            raise AssertionError(f"not in time: {what}")
        await deferLater(reactor, 0.05)
