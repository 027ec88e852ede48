"""
Starts relays by forking a process that has imported them: to import one takes a second of the processor.

The process is this file as a program. For each relay it gets what to run, as Python's own arguments, and
three descriptors, and answers with a process id; when the relay has ended it writes the exit status to the
third one.
"""

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
                octets, descriptors, _, _ = socket.recv_fds(self._requests, 1 << 20, 3)
                if not octets:
                    sys.exit()
                request = json.loads(octets)
                pid = os.fork()
                if pid == 0:
                    return self._become(request, descriptors)
                self._requests.sendall(NUMBER.pack(pid))
                self._statuses[pid] = descriptors.pop()
                for each in descriptors:
                    os.close(each)

    def _tell_ends(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                told = self._statuses.pop(pid)
                os.write(told, NUMBER.pack(os.waitstatus_to_exitcode(status)))
                os.close(told)

    def _become(self, request: dict[str, object], descriptors: list[int]) -> list[str]:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, descriptor in enumerate(descriptors[:2], start=1):
            os.dup2(descriptor, number)
        self._requests.detach()
        os.closerange(3, 1 << 10)
        for number, name in ((1, "stdout"), (2, "stderr")):
            stream = os.fdopen(number, "w", buffering=1 if number == 2 else -1, closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        os.chdir(str(request["folder"]))
        os.environ.clear()
        os.environ.update(request["environ"])
        return list(request["arguments"])


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
