"""
A relay that systemd started, with ``Type=notify`` and ``WatchdogSec``; the test is systemd.
"""

import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.process.conversation import Conversation
from tests.process.program import Program, eventually
from tests.process.relay_process import RelayProcess
from tests.process.service.test_start import CAPTURE, TWISTD
from tests.process.stage import Stage
from tests.service.test_systemd import notify_socket, told

#: Puts its own number where systemd would, and becomes the relay.
EXEC = "import os, sys; os.environ['WATCHDOG_PID'] = str(os.getpid()); os.execv(sys.executable, sys.argv[1:])"

RUN = ["-m", "smtprelay", "run"]
UNDER_TWISTD = ["-c", TWISTD, "-n", "smtprelay"]


class SystemdTests(Stage, TestCase):
    def started(self, command: list[str], more: str = "") -> tuple[RelayProcess, Program]:
        """Start a relay as systemd does."""
        self.socket = notify_socket(self, str(self.folder / "notify"))
        self.said: list[str] = []
        relay = self.ending(RelayProcess.of(self.folder, CAPTURE))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        text = relay.config.read_text().replace("tcp:0:", f"tcp:{self.port}:", 1)
        relay.config.write_text(f"{text}{more}")
        program = Program.python(
            ["-c", EXEC, sys.executable, "-P", *command, "-c", str(relay.config)],
            self.folder,
            NOTIFY_SOCKET=str(self.folder / "notify"),
            WATCHDOG_USEC="600000",
        )
        return relay, self.ending_program(program)

    async def hears(self, wanted: Callable[[str], bool]) -> str:
        """Wait for a datagram."""

        def look() -> str | None:
            self.said += told(self.socket)
            return next(filter(wanted, self.said), None)

        return str(await eventually(look, "the notification"))

    async def check(self, command: list[str], more: str = "") -> int:
        """See READY, signs of life, and STOPPING; return the exit status."""
        _relay, program = self.started(command, more)
        ready = await self.hears(lambda said: said.startswith("READY=1\n"))
        self.assertIn(f"STATUS=ready: lan on 127.0.0.1:{self.port}", ready)
        talk = await Conversation.open(self.port)
        self.assertIn("250", await talk.say("EHLO client.test"))
        await talk.close()
        await self.check_watchdog(program)
        program.signal(signal.SIGTERM)
        status = await program.ends()
        self.assertIn("STOPPING=1\nSTATUS=stopping: requested", [*self.said, *told(self.socket)])
        return status

    async def check_watchdog(self, program: Program) -> None:
        """Signs of life come while the process runs, and none while it stands still."""
        self.said.clear()
        await self.hears("WATCHDOG=1".__eq__)
        program.signal(signal.SIGSTOP)
        stat = Path(f"/proc/{program.transport.pid}/stat")
        await eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "the standstill")
        told(self.socket)
        await deferLater(reactor, 1.0)
        self.assertEqual(told(self.socket), [])
        program.signal(signal.SIGCONT)
        self.said.clear()
        await self.hears("WATCHDOG=1".__eq__)

    async def test_run(self) -> None:
        """``smtprelay run`` tells systemd when it listens, that it lives, and when it stops."""
        self.assertEqual(await self.check(RUN), 0)

    async def test_twistd(self) -> None:
        """So does ``twistd smtprelay``."""
        self.assertEqual(await self.check(UNDER_TWISTD), -signal.SIGTERM)

    async def test_workers(self) -> None:
        """With workers the supervisor does."""
        self.assertEqual(await self.check(RUN, "supervise: {restarts_per_hour: 5}\n"), 0)

    async def test_a_start_that_fails(self) -> None:
        """READY never comes; the status is the reason."""
        with socket.socket() as taken:
            _relay, program = self.started(RUN)
            taken.bind(("127.0.0.1", self.port))
            taken.listen()
            self.assertEqual(await program.ends(), 69)
        said = told(self.socket)
        self.assertIn(f"STATUS=cannot start: 127.0.0.1:{self.port} is in use", "\n".join(said))
        self.assertNotIn("READY=1", "\n".join(said))
