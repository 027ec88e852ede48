"""
What the process tests share: a folder for each test, and an end for each process.
"""

import shutil
import signal
import tempfile
from pathlib import Path

from twisted.internet.defer import Deferred

from tests.process.acs_server import AcsServer
from tests.process.program import Program
from tests.process.relay_process import RelayProcess


class Stage:
    """Gives each test of a ``TestCase`` its folder, and ends its processes whatever happens."""

    timeout = 300

    def setUp(self) -> None:
        # Not trial's own: the path of a UNIX socket has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="smtprelay-"))
        self.addCleanup(shutil.rmtree, self.folder)

    async def fake_acs(self) -> AcsServer:
        """Return a fake ACS."""
        acs = AcsServer()
        self.addCleanup(lambda: Deferred.fromCoroutine(acs.stop()))
        return acs

    def ending(self, relay: RelayProcess) -> RelayProcess:
        """Return ``relay``, whose last life is killed when the test is over."""
        self.addCleanup(relay.kill)
        return relay

    def ending_program(self, program: Program) -> Program:
        """Return ``program``, which is killed when the test is over."""
        self.addCleanup(program.stop, signal.SIGKILL)
        return program
