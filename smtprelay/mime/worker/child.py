"""
The MIME worker: a process that works on mail for the relay, one task after the other.

It reads tasks from its standard input and writes what became of them to its standard output, in
:mod:`smtprelay.mime.worker.frames`; the mail lies in a file that it shares with the relay. It ends when its
input does, and so when the relay is gone. The kernel bounds how much of the processor and of memory a task
uses; otherwise only the relay ends it, so signals to the whole process group are ignored.
"""

import json
import math
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from smtprelay.mime.worker import shared_file
from smtprelay.mime.worker.frames import (
    FACTS,
    FAILURE,
    MAX_FRAME,
    READY,
    TASK,
    FrameDecoder,
    FrameError,
    frame,
)
from smtprelay.mime.worker.task import PREFIXES, failure, named

#: Octets of address space that are assumed where /proc is missing.
_MAPPED: Final = 1 << 29

#: ``PR_SET_PDEATHSIG`` of Linux.
_PARENT_DEATH: Final = 1

_IGNORED: Final = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


class _InputEnded(BaseException):
    """
    The relay is gone, or has closed the pipe.

    It is no Exception, because those of a task are caught around the reading and writing, too.
    """


class Child:
    """
    The loop of the worker.

    :param read: returns some octets of its input, none at its end.
    :param write: writes all of what it is given.
    :param limit: bounds the processor seconds and the octets of memory of the next task.
    :param prefixes: of the modules in which tasks may be defined.
    :param file: the descriptor of the shared file.
    """

    def __init__(
        self,
        read: Callable[[], bytes],
        write: Callable[[bytes], object],
        limit: Callable[[float, int], object],
        prefixes: Sequence[str],
        file: int,
    ) -> None:
        self._frames = self._read_frames(read)
        self._write = write
        self._limit = limit
        self._prefixes = prefixes
        self._file = file

    def run(self) -> None:
        """Do tasks until the input ends."""
        try:
            self._write(frame(READY))
            while True:
                request = json.loads(self._next(TASK))
                self._limit(request["cpu"], request["memory"])
                try:
                    self._write(frame(FACTS, self._do(request)))
                except MemoryError as error:
                    # The traceback holds the mail and what was made of it: it is freed before the answer.
                    error.__traceback__ = error.__context__ = None
                    self._write(frame(FAILURE, json.dumps(failure(error)).encode()))
                except Exception as error:  # noqa: BLE001 -- the relay tells of it
                    self._write(frame(FAILURE, json.dumps(failure(error)).encode()))
        except _InputEnded:
            return

    def _do(self, request: Mapping[str, Any]) -> bytes:
        """Do the work and return its report; the result is in the file."""
        octets = shared_file.take(self._file, request["size"])
        facts, made = named(request["task"], self._prefixes)(octets, request["parameters"])
        answer = json.dumps({"facts": facts, "octets": len(made)}, separators=(",", ":")).encode()
        if len(answer) > MAX_FRAME:
            raise ValueError(f"{request['task']}: {len(answer)} octets of facts, {MAX_FRAME} at most")
        shared_file.put(self._file, made)
        return answer

    def _next(self, wanted: bytes) -> bytes:
        kind, octets = next(self._frames)
        if kind != wanted:
            raise _InputEnded
        return octets

    @staticmethod
    def _read_frames(read: Callable[[], bytes]) -> Iterator[tuple[bytes, bytes]]:
        decoder = FrameDecoder()
        while octets := read():
            try:
                yield from decoder.feed(octets)
            except FrameError as error:
                raise _InputEnded from error
        raise _InputEnded


def limit(cpu: float, memory: int) -> None:
    """Bound what this process may use from now on: ``cpu`` seconds more, and ``memory`` octets more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + cpu))
    _set(resource.RLIMIT_AS, _mapped() + memory)


def _set(which: int, wanted: int) -> None:
    """Set a soft limit, which the kernel enforces and which can be raised again."""
    _, hard = resource.getrlimit(which)
    resource.setrlimit(which, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _mapped() -> int:
    try:
        mapped = int(Path("/proc/self/statm").read_bytes().split()[0])
    except (OSError, ValueError, IndexError):
        return _MAPPED
    return mapped * resource.getpagesize()


def _apart() -> tuple[int, int]:
    """
    Return descriptors of the pipes that no other code in this process uses.

    What a library prints goes to the standard error, which the relay shows.
    """
    taken, given = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return taken, given


def _write_all(descriptor: int, octets: bytes) -> None:
    left = memoryview(octets)
    try:
        while left:
            left = left[os.write(descriptor, left) :]
    except OSError as error:
        raise _InputEnded from error


def _end_before_the_relay() -> None:
    """When the machine runs out of memory, this process is the one to end."""
    try:
        Path("/proc/self/oom_score_adj").write_text("500")
    except OSError:
        return


def _end_with_the_relay() -> None:
    """Have the kernel end this process when the relay is killed, also in the middle of a task (Linux)."""
    try:
        from ctypes import CDLL  # noqa: PLC0415 -- not every Python has it

        CDLL(None).prctl(_PARENT_DEATH, int(signal.SIGKILL))
    except (ImportError, OSError, AttributeError):
        return


def main(prefixes: Sequence[str]) -> None:
    """Work until the standard input ends; tasks may lie below ``prefixes``, too."""
    for each in _IGNORED:
        signal.signal(each, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _end_before_the_relay()
    _end_with_the_relay()
    # The relay's own folder may be gone, or wanted by who unmounts it.
    os.chdir("/")
    taken, given = _apart()
    Child(
        read=lambda: os.read(taken, MAX_FRAME),
        write=lambda octets: _write_all(given, octets),
        limit=limit,
        prefixes=(*PREFIXES, *prefixes),
        file=shared_file.NUMBER,
    ).run()


if __name__ == "__main__":
    main(sys.argv[1:])
