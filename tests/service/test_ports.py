from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from smtprelay.service.failure import StartFailed, explain
from smtprelay.service.ports import HttpPort, Ports


class ControlSocketTests(SynchronousTestCase):
    def opened(self, socket: str) -> Deferred[None]:
        """Open a site on ``socket``."""
        port = HttpPort(name="control", endpoint=f"unix:{socket}", site=Site(Resource()), socket=socket)
        return Deferred.fromCoroutine(Ports(MemoryReactor()).open_site(port))

    def told(self, socket: str) -> str:
        """Return the line that an operator reads when ``socket`` cannot be opened."""
        failed = explain(self.failureResultOf(self.opened(socket), OSError).value)
        assert isinstance(failed, StartFailed)
        return str(failed)

    def test_too_long(self) -> None:
        """A path that no address has room for is told with what to do."""
        socket = "/tmp/".ljust(120, "x")
        why = "longer than the 107 bytes that a socket's path may have: set control_socket to another"
        self.assertEqual(self.told(socket), f"{socket}: {why}")

    def test_no_folder(self) -> None:
        """A folder that is not there is told by its own name."""
        self.assertEqual(self.told("/nope/s"), "/nope: No such file or directory")

    def test_left_behind(self) -> None:
        """The file of a relay that was killed is in nobody's way."""
        socket = Path(self.mktemp())
        socket.touch()
        self.opened(str(socket))
        self.assertFalse(socket.exists())
