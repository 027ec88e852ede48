"""
A relay whose work is done by child processes, for the tests of those.
"""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.process.relay_process import RelayProcess

CAPTURE = "out: {type: capture, path: captured}"


class SupervisedRelay(RelayProcess):
    """A relay with workers."""

    has_workers = True

    @classmethod
    def with_workers(
        cls, folder: Path, provider: str = CAPTURE, *, more: str = "supervise: {restarts_per_hour: 3}\n"
    ) -> "SupervisedRelay":
        """Return a relay with the settings of ``more``, in place of the usual ones or beside them."""
        relay = cls.of(folder, provider)
        text = relay.config.read_text()
        kept = [line for line in text.splitlines(keepends=True) if f"{line.partition(':')[0]}:" not in more]
        relay.config.write_text("".join(kept) + more)
        return relay

    async def workers(self) -> Sequence[dict[str, Any]]:
        """Return each worker: ``number``, ``pid`` and ``ready``."""
        return list((await self.status())["workers"])

    async def pid(self, number: int = 1) -> int:
        """Return the process id of a worker; 0 if there is none."""
        return int((await self.workers())[number - 1]["pid"])

    async def end_worker(self, number: int = 1, how: int = signal.SIGKILL) -> int:
        """Kill a worker; return its process id."""
        pid = await self.pid(number)
        os.kill(pid, how)
        return pid
