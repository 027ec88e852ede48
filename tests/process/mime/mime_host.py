"""
A process that has work on mail done, as an embedder's might: ``python -m tests.process.mime.mime_host MODE``.

``stay`` has a task done, says the process id of the worker, and stays. ``compute`` says it while a task
computes. ``unheard`` runs a reactor that hears of no ends of processes, and stands in a folder that is gone;
it says how tasks end.
"""

import os
import sys
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from smtprelay.mime.worker.inline_budget import SMALL_TEXT
from smtprelay.mime.worker.mime_worker import Bounds, ProcessMimeWorker
from tests.mime.worker import tasks
from tests.mime.worker.fake_process import FakeBody


def say(text: object) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Host:
    """What each mode does."""

    def __init__(self) -> None:
        self._worker = ProcessMimeWorker(
            reactor, self._heard, bounds=Bounds(cpu=(1.0, 0.0)), prefixes=["tests."]
        )

    async def stay(self) -> None:
        """Let the worker be idle."""
        await self._run(tasks.repeat)

    async def compute(self) -> None:
        """Let the worker compute."""
        await self._run(tasks.burn)

    async def unheard(self) -> None:
        """See what tasks come to."""
        for task in (tasks.repeat, tasks.burn, tasks.repeat):
            try:
                await self._run(task)
            except Exception as error:  # noqa: BLE001 -- it says so
                say(type(error).__name__)
            else:
                say("done")
        await self._worker.stop()
        reactor.stop()

    async def _run(self, task: object) -> None:
        await self._worker.run(task, FakeBody(bytes(SMALL_TEXT + 1)), {})

    def _heard(self, event: str, /, **fields: object) -> None:
        if event == "mime.started":
            say(f"worker {fields['pid']}")


def main(mode: str) -> None:
    """Run until somebody ends it, or it is done."""
    hears = mode != "unheard"
    if not hears:
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        Path(folder).rmdir()
    host = Host()
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(getattr(host, mode)()))
    reactor.run(installSignalHandlers=hears)


if __name__ == "__main__":
    main(sys.argv[1])
