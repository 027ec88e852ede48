"""
Starts, uses and ends the worker process that parses mail.

Its closed pipes show that it has ended; that also works in a reactor without signal handlers.
"""

import json
import os
import re
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

import smtprelay
from smtprelay.interfaces import MailTooCostly, MimeTaskError, MimeWorkerUnavailable
from smtprelay.mime.worker import shared_file
from smtprelay.mime.worker.frames import FACTS, FAILURE, READY, TASK, FrameDecoder, FrameError, frame

#: Seconds between two queries of the exit status, and their maximum number.
_ASK_EVERY: Final = 0.02
_ASK_TIMES: Final = 100

#: Signals by which a task crashes its process.
_CRASHES: Final = frozenset((signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE))

#: Maximum number of octets of its standard error that are kept.
_LAST_WORDS: Final = 500

#: Of the environment: what Python needs to start, and no secrets.
_ENVIRONMENT: Final = re.compile("PATH|HOME|LANG|TMPDIR|VIRTUAL_ENV|(?:PYTHON|LD_|DYLD_|LC_).*").fullmatch

#: For glibc: blocks up to this size are reused. To map them for each mail would take a third of the time of
#: one of 5 MB.
_ALLOCATOR: Final = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(32 << 20))

_INPUT, _OUTPUT, _ERRORS = 0, 1, 2


class TaskFailedError(Exception):
    """
    A task raised an exception in the process.

    :ivar failure: what :func:`smtprelay.mime.worker.task.failure` returned.
    """

    def __init__(self, failure: Mapping[str, str]) -> None:
        super().__init__(failure["line"])
        self.failure = failure


class MimeProcess(ProcessProtocol):
    """
    One process of the MIME worker, from start to end.

    :ivar prefixes: of modules in which tasks may be defined, beside ``smtprelay``.
    :ivar pid: its process id, also when it has ended.
    :ivar ready: it has started.
    :ivar over: it takes no more tasks.
    :ivar ended: fires when its pipes are closed and its exit status is known, or cannot be known.
    """

    transport: Any

    def __init__(self, reactor: Any, prefixes: tuple[str, ...] = ()) -> None:
        self.pid = 0
        self.ready = False
        self.over = False
        self.ended: Deferred[None] = Deferred()
        self._reactor = reactor
        self.prefixes = prefixes
        self._decoder = FrameDecoder()
        self._frames: deque[tuple[bytes, bytes]] = deque()
        self._wanted: Deferred[None] | None = None
        self._errors = b""
        self._status: Any = None
        self._why: Exception | None = None
        self._file = -1

    @property
    def reason(self) -> str:
        """Why it takes no more tasks."""
        return str(self._why or "")

    def start(self, executable: str) -> None:
        """
        Start the process.

        :raises OSError: it cannot be started.
        :raises ValueError: the path of the Python executable is not known.
        """
        arguments = [executable, "-P", "-m", "smtprelay.mime.worker.child", *self.prefixes]
        self._file = shared_file.create()
        descriptors = {_INPUT: "w", _OUTPUT: "r", _ERRORS: "r", shared_file.NUMBER: self._file}
        try:
            self._reactor.spawnProcess(self, executable, arguments, env=environment(), childFDs=descriptors)
        except (OSError, ValueError):
            os.close(self._file)
            raise

    def kill(self) -> None:
        """Kill it; a :meth:`work` that waits raises :exc:`MimeWorkerUnavailable`."""
        self.over = True
        self._signal()

    async def work(
        self, request: Mapping[str, object], body: AsyncIterator[bytes]
    ) -> tuple[dict[str, Any], bytes]:
        """
        Run one task; return its facts and the octets that it produced.

        :raises TaskFailedError: it raised an exception.
        :raises MailTooCostly: it used up its processor time.
        :raises MimeTaskError: the process crashed.
        :raises MimeWorkerUnavailable: the process has ended.
        """
        if self._frames:
            raise self._lost("it spoke out of turn")
        size = 0
        async for chunk in body:
            if self._why is not None:
                raise self._why
            size = self._put(chunk, size)
        self._send(frame(TASK, json.dumps({**request, "size": size}).encode()))
        kind, content = await self._next()
        if kind == FAILURE:
            raise TaskFailedError(json.loads(content))
        if kind != FACTS:
            raise self._lost(f"it answered out of turn ({kind!r})")
        answer = json.loads(content)
        return answer["facts"], shared_file.take(self._file, answer["octets"])

    def _put(self, octets: bytes, at: int) -> int:
        try:
            return shared_file.put(self._file, octets, at)
        except OSError as error:
            raise self._lost(f"no room for the mail: {error}") from error

    def _send(self, octets: bytes) -> None:
        if self._why is not None:
            raise self._why
        with suppress(KeyError):  # closed, which its output will be, too
            self.transport.writeToChild(_INPUT, octets)

    def _signal(self) -> None:
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    async def _next(self) -> tuple[bytes, bytes]:
        while not self._frames:
            if self._why is not None:
                raise self._why
            self._wanted = Deferred()
            await self._wanted
        return self._frames.popleft()

    def _wake(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None and not wanted.called:
            wanted.callback(None)

    def _lost(self, why: str) -> Exception:
        """End it, because it broke the protocol."""
        self._why = MimeWorkerUnavailable(f"the MIME worker: {why}")
        self.kill()
        return self._why

    # --- called by Twisted

    def connectionMade(self) -> None:
        """Keep the process id."""
        self.pid = self.transport.pid

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803 -- Twisted's
        """Take octets of its output; keep the last of its standard error."""
        if childFD == _ERRORS:
            self._errors = (self._errors + data)[-_LAST_WORDS:]
            return
        if self.over:
            return
        try:
            for received in self._decoder.feed(data):
                if received[0] == READY and not self.ready:
                    self.ready = True
                else:
                    self._frames.append(received)
        except FrameError as error:
            self._lost(str(error))
        if self._frames or self._why is not None:
            self._wake()

    def childConnectionLost(self, childFD: int) -> None:  # noqa: N802, N803 -- Twisted's
        """End the process, because a pipe is closed; then find out its exit status."""
        if childFD != _ERRORS:
            self._signal()
        if childFD == _OUTPUT:
            self._ask(_ASK_TIMES)

    def processExited(self, reason: Failure) -> None:  # noqa: N802 -- Twisted's
        """Keep its exit status."""
        self._status = reason.value

    def _ask(self, times: int) -> None:
        """Poll for its exit status, where no signal handler reports it."""
        if self._status is None and times:
            self.transport.reapProcess()
        if self._status is None and times:
            self._reactor.callLater(_ASK_EVERY, self._ask, times - 1)
            return
        if self._why is None:
            self._why = (
                MimeWorkerUnavailable("the MIME worker was ended")
                if self.over
                else _ended(self._status, self._errors)
            )
        self.over = True
        os.close(self._file)
        self.ended.callback(None)
        self._wake()


def _ended(status: Any, errors: bytes) -> Exception:
    by = getattr(status, "signal", None)
    if by == signal.SIGXCPU:
        return MailTooCostly("work on the mail used up the processor time that a mail of its size may use")
    if by in _CRASHES:
        return MimeTaskError(f"the MIME worker crashed: killed by signal {by}")
    code = getattr(status, "exitCode", None)
    how = "ended" if status is None else f"killed by signal {by}" if by else f"exit status {code or 0}"
    words = " ".join(errors.decode("utf-8", "replace").split())
    return MimeWorkerUnavailable(f"the MIME worker: {how}{words and ': '}{words}")


def environment() -> dict[str, str]:
    """
    Return the environment in which the process finds the modules that are found here.

    It has no secrets, because the process parses mail of strangers.
    """
    kept = {name: value for name, value in os.environ.items() if _ENVIRONMENT(name)}
    paths = [path for path in map(_absolute, sys.path) if path]
    root = str(Path(*smtprelay.__path__).parent)
    kept["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*paths, root]))
    return {**kept, **_ALLOCATOR}


def _absolute(path: str) -> str:
    """Return an entry of ``sys.path`` for a process elsewhere; ``""`` if there is no such place any more."""
    try:
        return str(Path(path).absolute())
    except OSError:
        return ""
