"""
Which functions of ours one mail of 1 KB passes, and one ``smtprelay queue retry ID``: ``python -m
bench.way``.

Each function is counted once, in the order in which it was first entered: in all threads of the relay, and
for ``retry`` in the command's process, too. What the relay does now and then without any mail is left out.
``--list`` prints them as ``file:function``.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import FrameType
from typing import Any, Final

from bench.load import Conversation
from bench.ours import NOWHERE, Ours, acs
from bench.program import ROOT
from bench.sinks import HttpSink

#: Lies beside the configuration: what was passed since SIGUSR2, written at SIGUSR1.
PASSED: Final = "passed"
_OURS: Final = str(ROOT / "smtprelay") + os.sep
_HEADER: Final = b"From: sender@example.com\r\nTo: somebody@example.net\r\nSubject: way\r\n\r\n"
_MAIL: Final = _HEADER + (b"x" * 62 + b"\r\n") * 15
#: Seconds until what goes on after the answer has gone on.
_SETTLED: Final = 1.0
#: Seconds in which each periodic task comes that may come while a mail is on its way.
_PERIODS: Final = 12.0


class Recorder:
    """Hears each call of a function, and keeps the names of ours."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.on = False

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Note a call."""
        code = frame.f_code
        # The body of a class is no function: it is optimized as none.
        ours = code.co_flags & CO_OPTIMIZED and code.co_filename.startswith(_OURS)
        if self.on and event == "call" and ours and code.co_name[0] != "<":
            self.names[f"{code.co_filename.removeprefix(_OURS)}:{code.co_qualname}"] = None

    def begin(self, *_: object) -> None:
        """Begin anew."""
        self.names.clear()
        self.on = True


def relay(config: str) -> int:
    """Run a relay whose calls are recorded."""
    recorder = Recorder()
    file = Path(config).parent / PASSED

    def end(*_: object) -> None:
        recorder.on = False
        whole = file.with_suffix(".whole")
        whole.write_text("\n".join(recorder.names))
        whole.rename(file)

    signal.signal(signal.SIGUSR2, recorder.begin)
    signal.signal(signal.SIGUSR1, end)
    threading.setprofile(recorder)
    sys.setprofile(recorder)
    from smtprelay.service import run  # noqa: PLC0415

    return run(config)


def passed(ours: Ours, act: Callable[[], object]) -> Sequence[str]:
    """Return what the relay passes while ``act`` is done, and for a moment after it."""
    os.kill(ours.pid, signal.SIGUSR2)
    act()
    time.sleep(_SETTLED)
    os.kill(ours.pid, signal.SIGUSR1)
    file = ours.folder / PASSED
    while not file.exists():
        time.sleep(0.01)
    names = file.read_text().splitlines()
    file.unlink()
    return names


def one_mail(folder: Path) -> Sequence[str]:
    """Return the way of one mail, from its client to Azure Communication Services."""
    with ExitStack() as stack:
        sink = HttpSink(folder)
        stack.callback(sink.stop)
        ours = Ours(folder / "mail", {"acs": acs(sink.port)}, program=("bench.way", "run"))
        stack.callback(ours.stop)
        _send(ours)  # what is made once
        time.sleep(_SETTLED)
        idle = passed(ours, lambda: time.sleep(_PERIODS))
        return [name for name in passed(ours, lambda: _send(ours)) if name not in idle]


def one_retry(folder: Path) -> Sequence[str]:
    """Return the way of one ``queue retry``, of the command and of the relay."""
    ours = Ours(folder / "retry", {"nowhere": NOWHERE}, program=("bench.way", "run"))
    try:
        _send(ours)
        time.sleep(_SETTLED)
        ids = _command(ours, "queue", "list", "-o", "json").stdout
        name = ids.partition('"id": "')[2].partition('"')[0]
        heard: list[str] = []

        def act() -> None:
            done = _command(ours, "queue", "retry", name)
            heard.extend(line for line in done.stderr.splitlines() if ":" in line)

        return list(dict.fromkeys([*passed(ours, act), *heard]))
    finally:
        ours.stop()


def command(arguments: Sequence[str]) -> int:
    """Carry out a command, and write to the standard error what it passed."""
    recorder = Recorder()
    recorder.begin()
    sys.setprofile(recorder)
    from smtprelay.cli import main  # noqa: PLC0415

    status = main(arguments)
    sys.setprofile(None)
    sys.stderr.write("\n".join(recorder.names))
    return status


def _command(ours: Ours, *arguments: str) -> "subprocess.CompletedProcess[str]":
    argv = [
        sys.executable,
        "-m",
        "bench.way",
        "command",
        *arguments,
        "-c",
        str(ours.folder / "smtprelay.yaml"),
    ]
    environ = {**os.environ, "RUNTIME_DIRECTORY": str(ours.folder)}
    return subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)


def _send(ours: Ours) -> None:
    conversation = Conversation(ours.port)
    conversation.send(_MAIL)
    conversation.close()


def main() -> int:
    """Count both ways."""
    parser = argparse.ArgumentParser(prog="python -m bench.way", description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the functions")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="smtprelay-way-") as name:
        for title, way in (("one mail", one_mail), ("queue retry", one_retry)):
            names = way(Path(name))
            print(
                f"{title}: {len(names)} functions in {len({each.partition(':')[0] for each in names})} files"
            )
            if options.list:
                print("".join(f"  {each}\n" for each in names))
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        sys.exit(relay(sys.argv[2]))
    if sys.argv[1:2] == ["command"]:
        sys.exit(command(sys.argv[2:]))
    sys.exit(main())
