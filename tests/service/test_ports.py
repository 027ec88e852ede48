import os
import tempfile
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
        why = "longer than the 107 bytes that a socket's path may have: set control_socket to another path"
        self.assertEqual(self.told(socket), f"{socket}: {why}")

    def test_no_folder(self) -> None:
        """A folder that is not there is told by its own name, with the setting."""
        self.assertEqual(
            self.told("/nope/s"), "/nope: No such file or directory: set control_socket to another path"
        )

    def own_folder(self) -> Path:
        """Return the folder that the relay makes for itself in what is this user's for temporary files."""
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.patch(tempfile, "tempdir", place.name)
        return Path(place.name, f"smtprelay-{os.getuid()}")

    def test_own_folder(self) -> None:
        """The relay's own folder is made, for its user alone; it may be there already."""
        folder = self.own_folder()
        for _ in range(2):
            self.opened(str(folder / "control.sock"))
            self.assertEqual(folder.stat().st_mode & 0o777, 0o700)

    def test_own_folder_of_somebody_else(self) -> None:
        """In a place for everybody a folder that others can change, or a link, is not used."""
        folder = self.own_folder()
        folder.mkdir()
        folder.chmod(0o777)
        told = f"{folder}: belongs to somebody else: set control_socket to another path"
        self.assertEqual(self.told(str(folder / "control.sock")), told)
        folder.rmdir()
        folder.symlink_to(folder.parent)
        self.assertEqual(self.told(str(folder / "control.sock")), told)

    def test_left_behind(self) -> None:
        """The file of a relay that was killed is in nobody's way."""
        socket = Path(self.mktemp())
        socket.touch()
        self.opened(str(socket))
        self.assertFalse(socket.exists())
