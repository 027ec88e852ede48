"""
Starts relays by forking a process that has imported them: to import one takes a second of the processor.

The process is this file as a program. For each relay it gets what to run, as Python's own arguments, and
descriptors with their numbers, and answers with a process id; when the relay has ended it writes the exit
status to the last descriptor, which has no number. A supervisor has such a process of its own for its
workers.
"""

import atexit
import ctypes
import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.process import Process

NUMBER = struct.Struct("=i")

#: What most relays import, but for a reactor.
IMPORTS = (
    "smtprelay.cli.app",
    "smtprelay.cli.commands.run",
    "smtprelay.config.checks.files",
    "smtprelay.config.checks.secrets",
    "smtprelay.providers.acs.provider",
    "smtprelay.providers.capture.provider",
    "smtprelay.providers.smarthost.provider",
    "smtprelay.service",
    "smtprelay.spool.engines.postgres",
)


#: How a supervisor starts a worker, see :func:`smtprelay.service.workers.monitor.command`.
WORKER = [sys.executable, "-P", "-m", "smtprelay.entry"]

#: Descriptors of a process are below this; above it those of a new one wait until there is room.
MOST = 512

#: Of ``prctl``, see <linux/prctl.h>: a process whose parent has ended becomes a child of the one that asked.
PR_SET_CHILD_SUBREAPER = 36


class Starter:
    """
    What forks.

    :param requests: where it is asked.
    """

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._statuses: dict[int, int] = {}
        self._woken, waking = os.pipe()
        for each in (self._woken, waking):
            os.set_blocking(each, False)
        signal.set_wakeup_fd(waking)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # Ctrl-C is for trial, whose end is the end of this.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def serve(self) -> list[str]:
        """Return in each child, with what it is to run; end when nobody can ask any more."""
        while True:
            ready, _, _ = select.select([self._woken, self._requests], [], [])
            if self._woken in ready:
                os.read(self._woken, 4096)
                self._tell_ends()
            if self._requests in ready:
                octets, descriptors, _, _ = socket.recv_fds(self._requests, 1 << 20, 100)
                if not octets:
                    sys.exit()
                request = json.loads(octets)
                pid = self._fork()
                if pid == 0:
                    return self._become(request, descriptors)
                self._requests.sendall(NUMBER.pack(pid))
                if len(descriptors) > len(request["numbers"]):
                    self._statuses[pid] = descriptors.pop()
                for each in descriptors:
                    os.close(each)

    def _fork(self) -> int:
        return os.fork()

    def _tell_ends(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                told = self._statuses.pop(pid)
                os.write(told, NUMBER.pack(os.waitstatus_to_exitcode(status)))
                os.close(told)

    def _become(self, request: dict[str, Any], descriptors: list[int]) -> list[str]:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._requests.detach()
        moved = [fcntl.fcntl(each, fcntl.F_DUPFD, MOST) for each in descriptors]
        os.closerange(3, MOST)
        for descriptor, number in zip(moved, request["numbers"], strict=False):
            os.dup2(descriptor, number)
        os.closerange(MOST, 2 * MOST)
        for number, name in ((1, "stdout"), (2, "stderr")):
            stream = os.fdopen(number, "w", buffering=1 if number == 2 else -1, closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environ"])
        if request["workers"] and (worker := fork_workers()):
            return worker
        return list(request["arguments"])


class WorkerStarter(Starter):
    """What forks the workers of a supervisor, whose children they are."""

    def _fork(self) -> int:
        read, write = os.pipe()
        between = os.fork()
        if between == 0:
            pid = os.fork()
            if pid:
                os.write(write, NUMBER.pack(pid))
                os._exit(0)
            return 0
        os.waitpid(between, 0)
        (pid,) = NUMBER.unpack(os.read(read, NUMBER.size))
        os.close(read)
        os.close(write)
        return pid


def fork_workers() -> list[str]:
    """
    Have this process fork its workers from what it is now, instead of starting interpreters for them.

    Returns in each worker, with what it is to run; empty in the supervisor.
    """
    ours, its = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        with its:
            return WorkerStarter(its).serve()
    its.close()
    atexit.register(ours.close)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    fork = Process._fork

    def ask(process: Process, *arguments: Any, **kwargs: Any) -> None:
        *_, command, environ = arguments
        if command[: len(WORKER)] != WORKER:
            fork(process, *arguments, **kwargs)
            return
        fdmap = kwargs["fdmap"]
        words = {"arguments": command[2:], "folder": str(Path.cwd()), "environ": environ, "workers": False}
        request = json.dumps({**words, "numbers": list(fdmap)}).encode()
        socket.send_fds(ours, [request], list(fdmap.values()))
        (process.pid,) = NUMBER.unpack(ours.recv(NUMBER.size))

    Process._fork = ask
    return []


if __name__ == "__main__":
    for each in IMPORTS:
        importlib.import_module(each)

    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        option, what, *arguments = Starter(requests).serve()
    sys.argv[:] = [option, *arguments]
    if option == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(what, {"__name__": "__main__"})
